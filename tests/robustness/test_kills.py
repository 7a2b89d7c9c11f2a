"""The kill harness itself: it counts operations, dies where it is told to, and sees every difference."""

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from kills import choose, differences, lasting

SCRIPT = """
import os, shutil, subprocess, sys
os.mkdir("run/a")
with open("run/a/.b.7", "w") as file:
    file.write("1")
os.replace("run/a/.b.7", "run/a/b")
open("elsewhere", "w").close()
subprocess.run([sys.executable, "-c", "open('run/c', 'w').close()"])
shutil.rmtree("run/a")
"""


def run(folder, **settings):
    (folder / "run").mkdir()
    dying = {"DYING_BELOW": str(folder / "run"), "DYING_LOG": str(folder / "log"), **settings}
    path = {"PYTHONPATH": str(Path(__file__).parent / "dying")}
    command = [sys.executable, "-c", SCRIPT]
    status = subprocess.run(command, cwd=folder, env=os.environ | dying | path, start_new_session=True).returncode
    return status, (folder / "log").read_text().splitlines()


def test_operations_of_a_script_and_its_processes_are_counted(tmp_path):
    status, operations = run(tmp_path)
    assert status == 0
    assert operations == ["mkdir a", "open a/.b.7", "rename a/.b.7", "open c", "remove a/b", "rmdir a"]


def test_it_dies_right_before_an_operation_with_all_its_processes(tmp_path):
    status, operations = run(tmp_path, DYING_AT="4")
    assert status == -signal.SIGKILL
    assert operations[-1] == "open c"
    assert [path.name for path in (tmp_path / "run").rglob("*")] == ["a", "b"]


def test_every_kind_of_operation_is_chosen_before_one_is_chosen_twice():
    operations = ["mkdir a", *(f"open a/.b.{i}" for i in range(50)), "rename a/.b.1"]
    assert {operations[at - 1].split(".")[0] for at, _ in choose(operations, 3, random.Random(0))} == {
        "mkdir a",
        "open a/",
        "rename a/",
    }
    assert choose(operations, 9, random.Random(4)) == choose(operations, 9, random.Random(4))


def test_differences_are_told_in_words(tmp_path):
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    (there / "run.yaml").write_text("seed: 1\n")
    (there / "gone").write_text("")
    (there / "metrics.json").write_text('{"train": {"loss": [1.5], "train_runtime": 3}}')
    shutil.copytree(there, here)
    assert differences(there, here) == []
    (here / "metrics.json").write_text('{"train": {"loss": [2.5], "train_runtime": 4}}')
    (here / "run.yaml").write_text("seed: 2\n")
    (here / "gone").rename(here / ".metrics.json.12")
    assert differences(there, here) == [
        "left behind: .metrics.json.12",
        "not there: gone",
        "metrics.json: train loss 0 was to be 1.5 and is 2.5",
        "run.yaml differs: 'seed: 1' is 'seed: 2'",
    ]


def test_times_and_memory_do_not_count():
    assert lasting({"eval_runtime": 1, "peak_memory_mib": 2, "f1": 3, "a": [{"x_per_second": 4}]}) == {
        "f1": 3,
        "a": [{}],
    }
