"""The checks that need a GPU: that each begins, ends or is killed, and is told of."""

import json
import sys
import time

import pytest
import torch
from support.paths import ROOT
from support.started import run

from benchmarks.gpu import Check, checks, run_checks

PYTHON = sys.executable


def test_what_ends_well_badly_and_not_at_all_is_told_apart(tmp_path):
    alive = f"import time; time.sleep(3); open({str(tmp_path / 'alive')!r}, 'w')"
    endless = f"import subprocess, sys; print('begun', flush=True); subprocess.run([sys.executable, '-c', {alive!r}])"
    chosen = {
        "good": Check([PYTHON, "-c", "print('first'); print('last')"], 30, timed=True),
        "bad": Check([PYTHON, "-c", "import sys; sys.exit('no GPU')"], 30),
        "endless": Check([PYTHON, "-c", endless], 2),
        "lacking": Check([PYTHON, "-c", "1"], 30, missing="a thing"),
    }
    results = {result["check"]: result for result in run_checks(chosen, tmp_path, 3)}
    assert {name: (r["end"], r["last"]) for name, r in results.items()} == {
        "good": ("ok", "last"),
        "bad": ("status 1", "no GPU"),
        "endless": ("killed after 2 s", "begun"),
        "lacking": ("left out", "needs a thing"),
    }
    assert len(json.loads((tmp_path / "checks.json").read_text())["checks"]) == 4
    time.sleep(3)
    assert not (tmp_path / "alive").exists()


def test_each_check_names_what_is_there(tmp_path):
    for name, check in checks(tmp_path).items():
        words = check.command
        files = [word for word in words if word.startswith(("recipes/", "benchmarks/"))]
        modules = [words[i + 1] for i, word in enumerate(words) if word == "-m"]
        assert files or modules, name
        assert all((ROOT / file).is_file() for file in files), name


@pytest.mark.skipif(torch.cuda.is_available(), reason="it would run for half an hour")
def test_without_a_gpu_nothing_is_begun(tmp_path):
    command = [PYTHON, "-m", "benchmarks.gpu", "--output_dir", str(tmp_path / "out")]
    done = run(command, folder=ROOT)
    assert done.returncode == 2
    assert "error: torch sees no GPU here" in done.stderr
    assert not (tmp_path / "out").exists()
