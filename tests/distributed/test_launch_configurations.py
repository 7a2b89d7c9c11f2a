"""Launch configurations, as far as a machine without GPUs lets them go."""

import csv
import importlib.util
import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from accelerate.commands.config.config_args import load_config_from_file
from support.interrupted import command, wait_for
from support.paths import ROOT
from support.started import run_on_processes

CONFIGS = sorted((ROOT / "recipes/launch").glob("*.yaml"))
EXPECTED = {
    "cpu": ("MULTI_GPU", 1),
    "ddp": ("MULTI_GPU", 1),
    "deepspeed_zero2": ("DEEPSPEED", 1),
    "fsdp2": ("FSDP", 1),
    "multi_node": ("MULTI_GPU", 2),
    "one_gpu": ("NO", 1),
}


def launch(config, recipe, *flags):
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
    command.append(str(ROOT / f"recipes/launch/{config}.yaml"))
    if config != "one_gpu":
        command += ["--num_processes", "2"]
    return [*command, str(ROOT / f"recipes/{recipe}.py"), *map(str, flags)]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_configurations_are_what_accelerate_reads(path):
    config = load_config_from_file(str(path))
    assert (config.distributed_type.value, config.num_machines) == EXPECTED[path.stem]
    # The recipe chooses the precision.
    assert config.mixed_precision == "no"


@pytest.mark.slow
def test_fsdp_on_cpus_ends_in_a_sentence(tmp_path):
    done = subprocess.run(launch("fsdp2", "stock", "--output_dir", tmp_path / "run"), capture_output=True, text=True)
    assert done.returncode
    assert done.stderr.count("error: FSDP cannot be honoured on CPUs: launch with recipes/launch/cpu.yaml") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("config", ["cpu", "ddp", "one_gpu"])
def test_a_recipe_runs_under_the_configuration(config, competition, tiny_bert, tmp_path):
    flags = ["--dataset", competition, "--model", tiny_bert, "--max_length", "32", "--max_steps", "2"]
    done = subprocess.run(
        launch(config, "stock", *flags, "--output_dir", tmp_path / "run"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    environment = json.loads((tmp_path / "run/metrics.json").read_text())["environment"]
    assert environment["processes"] == (1 if config == "one_gpu" else 2)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="needs pip install -e '.[deepspeed]'")
def test_deepspeed_takes_the_steps_of_one_process(competition, without_dropout, tmp_path):
    flags = ["--dataset", competition, "--model", without_dropout, "--max_length", "32", "--max_steps", "4"]
    flags += ["--logging_steps", "1", "--bf16", "false", "--learning_rate", "1e-3", "--max_grad_norm", "0.05"]
    flags += ["--class_weights", "0.5", "3", "--output_dir"]
    cut = ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "2"]
    subprocess.run(
        launch("deepspeed_zero2", "custom", *flags, tmp_path / "cut", *cut), check=True, capture_output=True
    )
    whole = [*map(str, flags), str(tmp_path / "whole"), "--per_device_train_batch_size", "16"]
    subprocess.run([sys.executable, ROOT / "recipes/custom.py", *whole], check=True, capture_output=True)
    np.testing.assert_allclose(logged(tmp_path / "cut"), logged(tmp_path / "whole"), rtol=1e-5)


def logged(run):
    log = json.loads((run / "trainer_state.json").read_text())["log_history"]
    return [(e["loss"], e["grad_norm"]) for e in log if "loss" in e]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_to_the_launcher_saves_on_all_processes_first(number, competition, tiny_bert, tmp_path):
    run = tmp_path / "run"
    flags = command("stock", run, competition, tiny_bert)[2:]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(launch("cpu", "stock", *flags), **pipes)
    wait_for(run / "checkpoints/checkpoint-10", process)
    process.send_signal(number)
    _, error = process.communicate(timeout=90)
    assert process.returncode
    assert error.count("the same command goes on from there") == 1, error
    said, _ = run_on_processes(2, [sys.executable, ROOT / "recipes/stock.py", *flags])
    assert said.count("Going on from step") == 1
    assert "cannot be used" not in said
    with (run / "predictions.csv").open() as file, (competition / "test.csv").open() as test:
        assert [row["id"] for row in csv.DictReader(file)] == [row["id"] for row in csv.DictReader(test)]
