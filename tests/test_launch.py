"""Launch configurations and the Slurm script, as far as a machine without GPUs and without Slurm lets them go."""

import csv
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from accelerate.commands.config.config_args import load_config_from_file
from test_interruption import command, wait_for

ROOT = Path(__file__).parents[1]
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
    done = subprocess.run(launch("cpu", "stock", *flags), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Going on from step") == 1
    assert "cannot be used" not in done.stdout
    with (run / "predictions.csv").open() as file, (competition / "test.csv").open() as test:
        assert [row["id"] for row in csv.DictReader(file)] == [row["id"] for row in csv.DictReader(test)]


FAKES = {
    "scontrol": 'if [ "$1" = show ]; then printf "first\\nsecond\\n"; fi; echo "scontrol $*" >>"$CALLS"',
    # The step runs until it is signalled, as srun does, and ends with a status that says so.
    "srun": 'echo "srun" "$@" >>"$CALLS"; for w in "$@"; do echo "  $w" >>"$CALLS"; done\n'
    'shift; SLURM_NODEID=1 "$@" & pid=$!; echo $pid >"$STEP"; wait $pid',
    "scancel": 'echo "scancel $*" >>"$CALLS"; kill -TERM "$(cat "$STEP")"',
    ".venv/bin/accelerate": 'echo accelerate >>"$CALLS"; for w in "$@"; do echo "<$w>" >>"$CALLS"; done\n'
    'trap "exit 143" TERM; touch "$STARTED"; for _ in $(seq "$SECONDS_TO_RUN"); do sleep 0.1; done; exit "$STATUS"',
}


@pytest.fixture
def slurm(tmp_path):
    """A function that starts the Slurm script among programs that only write down how they were called."""
    for name, body in FAKES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)

    def start(run_for, status):
        environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "SLURM_GPUS_ON_NODE": "4",
            "SLURM_JOB_NODELIST": "gpu[1-2]",
            "SLURM_JOB_ID": "77",
            "SLURM_NNODES": "2",
            "SLURM_JOB_NUM_NODES": "2",
            "CALLS": str(tmp_path / "calls"),
            "STEP": str(tmp_path / "step"),
            "STARTED": str(tmp_path / "started"),
            "SECONDS_TO_RUN": str(run_for),
            "STATUS": str(status),
        }
        script = ["bash", str(ROOT / "recipes/launch/slurm.sh"), "recipes/custom.py", "--labels", "two words", "b"]
        return subprocess.Popen(script, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start, tmp_path


def test_the_slurm_script_passes_its_arguments_to_every_machine(slurm):
    start, folder = slurm
    process = start(1, 0)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 0, error
    calls = (folder / "calls").read_text()
    words = calls.split("accelerate\n")[1].replace(">\n<", " | ")
    assert "--num_machines | 2 | --machine_rank | 1 | --num_processes | 8" in words
    assert "--main_process_ip | first | --main_process_port | 29577" in words
    assert words.strip().endswith("recipes/custom.py | --labels | two words | b>")
    assert "requeue" not in calls
    assert "scancel" not in calls


def test_a_failed_run_is_not_put_back_into_the_queue(slurm):
    start, folder = slurm
    process = start(1, 2)
    process.communicate(timeout=20)
    assert process.returncode == 2
    assert "requeue" not in (folder / "calls").read_text()


def test_a_preempted_run_is_signalled_and_put_back_into_the_queue(slurm):
    start, folder = slurm
    process = start(200, 0)
    wait_for(folder / "started", process)
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    out, error = process.communicate(timeout=20)
    assert time.monotonic() - started < 15
    assert process.returncode == 143, error
    assert "goes back into the queue" in out
    calls = (folder / "calls").read_text().splitlines()
    assert "scancel --signal=TERM 77.0" in calls
    assert calls[-1] == "scontrol requeue 77"


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing_in_the_slurm_script():
    done = subprocess.run(["shellcheck", ROOT / "recipes/launch/slurm.sh"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
