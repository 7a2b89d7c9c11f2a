"""--help tells every flag that is honoured, and answers at once."""

import dataclasses
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from bert_recipes.arguments import FIXED, POOLING_NAMES, TASKS, CustomArguments, DataArguments
from bert_recipes.help import NO_MEANING
from bert_recipes.labels import PROBLEM_TYPES
from bert_recipes.pooling import POOLINGS
from bert_recipes.training_arguments import RecipeTrainingArguments

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes"
BENCHMARKS = ("bench", "choices", "exactness")


def help_of(script: str) -> str:
    words = ["-m", f"benchmarks.{script}"] if script in BENCHMARKS else [str(RECIPES / script)]
    command = [sys.executable, *words, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout


def test_every_flag_is_told_but_those_that_would_be_refused():
    text = help_of("custom.py")
    fields = {f.name for part in (DataArguments, CustomArguments) for f in dataclasses.fields(part)}
    of_trainer = {f.name for f in dataclasses.fields(RecipeTrainingArguments) if f.init}
    told = {word[2:] for word in text.split() if word.startswith("--")}
    refused = set(FIXED) - {"train_sampling_strategy"}
    missing = (fields | of_trainer) - refused - (NO_MEANING - {"debug"}) - told
    assert not missing
    assert not told & refused


@pytest.mark.parametrize("flag", ["--eval_strategy", "--output_dir", "--save_total_limit"])
def test_the_defaults_are_those_of_the_recipes(flag):
    told = " ".join(help_of("stock.py").split(f"  {flag} ")[1].split("\n  --")[0].split())
    default = {"--eval_strategy": "epoch", "--output_dir": "runs/stock", "--save_total_limit": "2"}[flag]
    assert told.endswith(f"[{default}]")


def test_the_names_that_help_tells_are_those_that_there_are():
    assert tuple(POOLINGS) == POOLING_NAMES
    assert tuple(PROBLEM_TYPES) == TASKS


@pytest.mark.parametrize("script", [*sorted(path.name for path in RECIPES.glob("*.py")), *BENCHMARKS])
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
