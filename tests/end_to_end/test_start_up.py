"""How soon the scripts answer."""

import resource
import subprocess
import sys

import pytest
from support.paths import RECIPES
from support.scripts import BENCHMARKS, help_of


@pytest.mark.parametrize("script", [*sorted(path.name for path in RECIPES.glob("[a-z]*.py")), *BENCHMARKS])
def test_help_answers_at_once(script):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = help_of(script)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "usage:" in text
    # Time of the processor, which other work on the machine does not lengthen much.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5


FIRST_STEP = """
import os, runpy, sys
from transformers import Trainer
step = Trainer.training_step
def first_step(*args, **kwargs):
    step(*args, **kwargs)
    print("stepped", flush=True)
    os._exit(0)
Trainer.training_step = first_step
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stock", "custom"])
def test_the_quickstart_has_made_a_step_in_fifteen_seconds(name, tmp_path):
    script = str(RECIPES / f"{name}.py")
    config = ("--config", str(RECIPES / "configs/quickstart.yaml"), "--output_dir", str(tmp_path / "run"))
    code = FIRST_STEP.replace("sys.argv[0]", repr(script))
    seconds = []
    for _ in range(2):  # the first fills the caches
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run([sys.executable, "-c", code, *config], capture_output=True, text=True)
        assert "stepped" in done.stdout, done.stderr
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert seconds[1] < 15, seconds
