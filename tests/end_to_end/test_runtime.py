"""An export predicts in an environment that has the extra `runtime` and nothing of training."""

import csv
import json
import os
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
from support.paths import RECIPES, ROOT
from support.scripts import recipe, run_script

from bert_recipes.cli.bundle import SOURCES

pytestmark = pytest.mark.slow

MEASURED = """
import runpy, sys
from bert_recipes.devices import peak_memory
runpy.run_module("bert_recipes.recipes.predict", run_name="__main__")
print(peak_memory(), file=sys.stderr)
"""
FROM_PYTHON = """
import sys
import bert_recipes as br
print(br.load(sys.argv[1]).predict(["fire in a storm"]).to_csv(index=False))
for mistake in (lambda: br.train("stock", dataset="x.csv"), lambda: br.load("runs/x"), lambda: br.load_data):
    try:
        mistake()
    except br.UserError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of an environment with the extra `runtime`."""
    folder = tmp_path_factory.mktemp("runtime")
    for name in SOURCES:  # a copy, since pip builds where the sources are
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / "sources" / name, ignore=ignored)
        else:
            (folder / "sources").mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / "sources")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    found = folder / "venv/bin/python"
    what = ["-c", ROOT / "constraints.txt", f"{folder / 'sources'}[runtime]"]
    subprocess.run([found, "-m", "pip", "install", "--quiet", *what], check=True)
    return found


@pytest.fixture(scope="module")
def run(competition, tiny_bert, tmp_path_factory):
    """A run with its export."""
    folder = tmp_path_factory.mktemp("run") / "stock"
    recipe("stock", folder, competition, tiny_bert)
    run_script(RECIPES / "export.py", "--model", folder, "--debug")
    return folder


def call(python, *words, stdin=""):
    # Without this checkout on the path, and without the packages of this environment.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "BR_"))}
    return subprocess.run([python, *map(str, words)], input=stdin, capture_output=True, text=True, env=environment)


def predictions(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_the_environment_has_nothing_of_training(python):
    listed = json.loads(call(python, "-m", "pip", "list", "--format", "json").stdout)
    names = {entry["name"].lower() for entry in listed}
    assert {"bert-recipes", "onnxruntime", "tokenizers", "numpy"} <= names
    assert not names & {"torch", "transformers", "datasets", "accelerate", "scikit-learn", "scipy", "matplotlib"}


def test_it_predicts_what_the_model_predicts(python, run, competition, tmp_path):
    by_torch, by_export = tmp_path / "torch.csv", tmp_path / "export.csv"
    source = competition / "test.csv"
    run_script(RECIPES / "predict.py", "--model", run, "--input", source, "--output", by_torch, "--bf16", "false")
    words = ("-m", "bert_recipes.recipes.predict", "--model", run / "export", "--input", source)
    done = call(python, *words, "--output", by_export)
    assert done.returncode == 0, done.stderr
    first, *expected = predictions(by_torch)
    header, *found = predictions(by_export)
    assert header == first
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    numbers = [np.array([row[2:] for row in rows], dtype=float) for rows in (found, expected)]
    np.testing.assert_allclose(*numbers, atol=1e-5)


def test_a_text_takes_less_than_a_second_and_200_mib(python, run):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = call(python, "-c", MEASURED, "--model", run / "export", stdin="fire in a storm\n")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1
    assert int(done.stderr) < 200 * 2**20


def test_from_python_and_what_needs_training_says_so(python, run):
    done = call(python, "-c", FROM_PYTHON, run / "export")
    assert done.returncode == 0, done.stderr
    header, row, _, *sentences = done.stdout.splitlines()
    assert (header, len(row.split(","))) == ("prediction,0,1", 3)
    beginnings = ("br.train needs", "--model runs/x is no export", "bert_recipes.load_data needs")
    for name, sentence in zip(beginnings, sentences, strict=True):
        assert sentence.startswith(name)
        assert sentence.endswith("which is not installed: pip install 'bert-recipes[train]'.")


@pytest.mark.parametrize("script", ["stock", "custom", "baseline", "compare", "search", "audit", "export"])
def test_every_script_of_training_says_what_to_install(script, python):
    done = call(python, "-m", f"bert_recipes.recipes.{script}", "--model", "x")
    assert done.returncode == 2
    assert done.stderr.endswith("which is not installed: pip install 'bert-recipes[train]'.\n")
    assert len(done.stderr.splitlines()) == 1
