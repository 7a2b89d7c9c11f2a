"""The folder of a run is opened, guarded, replaced, and has to have room."""

import json
import os
import subprocess
import sys

import pytest
from support.paths import RECIPES
from support.scripts import recipe
from support.started import run

from bert_recipes.errors import UserError


def test_a_finished_run_is_not_overwritten(finished, competition, tiny_bert):
    name, folder = finished
    before = (folder / "metrics.json").read_bytes()
    with pytest.raises(UserError, match=r"holds a finished run.*--overwrite"):
        recipe(name, folder, competition, tiny_bert)
    with pytest.raises(UserError, match=r"another configuration \(learning_rate is 0.001 there and 0.01 here\)"):
        recipe(name, folder, competition, tiny_bert, "--learning_rate", "1e-2")
    assert (folder / "metrics.json").read_bytes() == before


def test_overwrite_replaces_a_run_and_nothing_else(competition, tiny_bert, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    recipe("stock", run, competition, tiny_bert, "--max_steps", "1")
    recipe("stock", run, competition, tiny_bert, "--max_steps", "2", "--overwrite")
    assert json.loads((run / "trainer_state.json").read_text())["global_step"] == 2
    other.mkdir()
    (other / "thesis.tex").write_text("two years of work")
    with pytest.raises(UserError, match="not empty and holds no run"):
        recipe("stock", other, competition, tiny_bert, "--overwrite")
    assert (other / "thesis.tex").exists()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder]).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_place_with_too_little_room_is_refused_before_training(small_disk, competition):
    with pytest.raises(UserError, match=r"3\.0 MiB of free space, and the checkpoints need about \d+\.\d MiB"):
        recipe("stock", small_disk / "run", competition, "embedded:minilm")
    assert not list(small_disk.iterdir())


def test_a_disk_that_fills_up_while_training_is_one_sentence(small_disk, competition, tiny_bert):
    flags = ["--save_strategy", "steps", "--eval_strategy", "steps", "--save_steps", "1", "--eval_steps", "1"]
    command = [sys.executable, str(RECIPES / "stock.py"), "--dataset", str(competition), "--model", str(tiny_bert)]
    command += ["--output_dir", str(small_disk / "run"), "--save_total_limit", "100", "--max_length", "32", *flags]
    done = run(command)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
