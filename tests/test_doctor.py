"""The doctor finds what is wrong, says so in time, and names the cure."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bert_recipes import doctor

SCRIPT = Path(doctor.__file__)


def run(cwd, **environment):
    started = time.monotonic()
    command = [sys.executable, "-P", str(SCRIPT)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=os.environ | environment)
    return done.returncode, " ".join(done.stdout.split()), time.monotonic() - started


def test_a_sound_environment_offline_has_no_problem(tmp_path):
    status, out, _ = run(tmp_path, HF_HUB_OFFLINE="1")
    assert status == 0, out
    for part in ("Python 3", "Trainer can be imported", "a build for", "CPU:", "disk are free", "HF_HUB_OFFLINE"):
        assert part in out
    assert "digests right" in out
    assert "All is well" in out


def test_missing_competition_files_come_with_two_ways_to_get_them(tmp_path):
    (finding,) = doctor.competition(tmp_path)
    assert finding.mark == "note"
    assert "kaggle competitions download -c nlp-getting-started" in finding.cure
    assert "by hand" in finding.cure
    folder = tmp_path / "data/disaster-tweets"
    folder.mkdir(parents=True)
    for name in doctor.COMPETITION_FILES:
        (folder / name).touch()
    (finding,) = doctor.competition(tmp_path)
    assert finding.mark == "ok"


def test_an_accelerate_that_is_too_old_names_the_cure(tmp_path):
    old = tmp_path / "accelerate"
    old.mkdir()
    (old / "__init__.py").write_text("__version__ = '1.15.0'\nclass Accelerator: pass\n")
    status, out, _ = run(tmp_path, HF_HUB_OFFLINE="1", PYTHONPATH=str(tmp_path))
    assert status == 1
    assert "accelerate is too old" in out
    assert 'pip install -U "accelerate>=1.15"' in out


def test_a_hub_that_never_answers_costs_seconds_and_no_problem(tmp_path):
    # An address of the range kept for documentation: nothing is there to answer.
    status, out, seconds = run(tmp_path, HF_HUB_OFFLINE="0", HF_ENDPOINT="http://192.0.2.1")
    assert status == 0, out
    assert "the Hub does not answer" in out
    assert seconds < 30


def test_a_hub_that_answers(tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        status, out, _ = run(tmp_path, HF_HUB_OFFLINE="0", HF_ENDPOINT=endpoint)
    assert status == 0
    assert "the Hub answers" in out


def test_a_kaggle_notebook_without_internet_names_the_switch(tmp_path):
    environment = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9", "KAGGLE_KERNEL_RUN_TYPE": "Interactive"}
    status, out, _ = run(tmp_path, **environment)
    assert status == 1
    assert "Internet > On" in out


@pytest.mark.parametrize(
    ("wanted", "tested", "mark", "text"),
    [
        ("torch>=99", "torch==99", "problem", "is older than 99"),
        ("no-such-package>=1", "no-such-package==1", "problem", "is not installed"),
        ("torch>=1.0", "torch==1.0", "note", "tested with 1.0"),
    ],
)
def test_versions_are_held_against_the_constraints(wanted, tested, mark, text, tmp_path):
    (tmp_path / "pyproject.toml").write_text(f'[project]\ndependencies = ["{wanted}"]\n')
    (tmp_path / "constraints.txt").write_text(tested)
    (finding,) = doctor.packages(tmp_path)
    assert finding.mark == mark
    assert text in finding.text
    assert ("constraints.txt" in finding.cure) == (mark == "problem")


def test_a_full_disk_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1 << 30}))
    (finding,) = doctor.disk(tmp_path)
    assert finding.mark == "problem"
    assert "1.0 GiB" in finding.text
