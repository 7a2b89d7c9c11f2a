"""Prediction by the processes of a launcher, whole programs as people start them."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from support.paths import RECIPES, ROOT
from support.rows import WORDS, sentence
from support.scripts import recipe, run_script
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bert_recipes.data import embedded
from bert_recipes.inference.predictor import Predictor
from bert_recipes.inference.rows import TextRow

LAUNCHERS = {
    "accelerate": [*("-m", "accelerate.commands.launch", "--config_file"), str(ROOT / "recipes/launch/cpu.yaml")],
    "torchrun": ["-m", "torch.distributed.run", "--nproc_per_node", "2"],
}


@pytest.fixture(scope="module")
def place(tiny_bert, tmp_path_factory):
    """A folder with a model, 9,000 rows, and what one process predicts."""
    folder = tmp_path_factory.mktemp("place")
    AutoModelForSequenceClassification.from_pretrained(tiny_bert).save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder / "model")
    with (folder / "new.csv").open("w") as file:
        file.write("text\n")
        file.writelines(f"{WORDS[i % 7]} {WORDS[i % 11]}\n" for i in range(9000))
    run_script(RECIPES / "predict.py", *flags(folder, "one.csv"), "--debug")
    return folder


def flags(folder, output, model="model"):
    return ["--model", str(folder / model), "--input", str(folder / "new.csv"), "--output", str(folder / output)]


@pytest.mark.parametrize("launcher", ["accelerate", pytest.param("torchrun", marks=pytest.mark.slow)])
def test_two_processes_write_what_one_does(launcher, place):
    command = [sys.executable, *LAUNCHERS[launcher], str(RECIPES / "predict.py"), *flags(place, f"{launcher}.csv")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for process in (1, 2):
        assert f"Process {process} of 2 predicted " in done.stderr
    assert done.stderr.count("9,000 rows are in") == 1
    assert (place / f"{launcher}.csv").read_bytes() == (place / "one.csv").read_bytes()
    assert not (place / f"{launcher}.csv.parts").exists()


@pytest.mark.slow
def test_from_the_makefile_and_a_mistake_there(place):
    def make(*more):
        command = ["make", "-C", str(ROOT), "predict", "PROCS=2", f"MODEL={place / 'model'}", *more]
        return subprocess.run(command, capture_output=True, text=True)

    done = make(f"INPUT={place}/new*.csv", f"OUTPUT={place / 'made.csv'}")
    assert done.returncode == 0, done.stderr
    assert (place / "made.csv").read_bytes() == (place / "one.csv").read_bytes()
    done = make(f"INPUT={place}/new.csv")
    assert done.returncode
    assert (
        done.stderr.count(
            "error: 2 processes (PROCS, WORLD_SIZE or SLURM_STEP_NUM_TASKS says so) cannot share standard output"
        )
        == 1
    )
    done = make(f"INPUT={place}/none.csv", f"OUTPUT={place / 'none-made.csv'}")
    assert done.returncode
    assert done.stderr.count("none.csv: there is no such file") == 1
    assert not (place / "none-made.csv.parts").exists()


@pytest.mark.slow
def test_where_one_process_is_killed_the_launch_fails_and_the_next_goes_on(place):
    command = [sys.executable, *LAUNCHERS["accelerate"], str(RECIPES / "predict.py"), *flags(place, "killed.csv")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not list((place / "killed.csv.parts").glob("part-*")):
        assert process.poll() is None
        time.sleep(0.005)
    workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    process.communicate(timeout=90)
    if process.returncode:  # it was not through yet
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (place / "killed.csv").read_bytes() == (place / "one.csv").read_bytes()
    assert not (place / "killed.csv.parts").exists()


@pytest.mark.slow
def test_a_blend_with_a_baseline_which_is_fitted_again(competition, tiny_bert, tmp_path):
    for name in ("baseline", "stock"):
        recipe(name, tmp_path / name, competition, tiny_bert, "--folds", "2")
    runs = tmp_path / "baseline", tmp_path / "stock"
    run_script(RECIPES / "blend.py", *runs, "--output_dir", tmp_path / "blend", "--debug")
    (tmp_path / "new.csv").write_bytes((competition / "test.csv").read_bytes())
    run_script(RECIPES / "predict.py", *flags(tmp_path, "one.csv", "blend"), "--debug")
    command = [
        sys.executable,
        *LAUNCHERS["torchrun"],
        str(RECIPES / "predict.py"),
        *flags(tmp_path, "two.csv", "blend"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "two.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True])
def test_the_bytes_do_not_depend_on_the_threads(half, tmp_path):
    source = str(embedded.model_path("embedded:minilm"))
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_pretrained(source).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(source).save_pretrained(tmp_path)
    rows = [TextRow(str(i), f"{sentence(i)} {i} " * (1 + i % 5)) for i in range(300)]
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2, 5, 16):
            torch.set_num_threads(count)
            predictor = Predictor.load(str(tmp_path), bf16=half)
            predictor.compute_side_by_side()
            found.append(np.concatenate([logits for _, logits in predictor.logits(rows)]))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
