"""The commands that people type."""

import csv
import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest
from support.paths import ROOT
from support.scripts import recipe
from support.started import run


def make(*arguments, root=ROOT):
    # What `make test` was given (ARGS="-k blend") is not for the commands that are tested.
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKEOVERRIDES")}
    command = ["make", "-C", str(root), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def at_once(*arguments):
    """Do what make would, in a process that has the libraries already."""
    printed = make("--no-print-directory", "--dry-run", *arguments)
    assert printed.returncode == 0, printed.stderr
    python, *words = shlex.split(printed.stdout.removeprefix("set -f;"))
    assert python == ".venv/bin/python"
    return run([sys.executable, *words], folder=ROOT)


def test_help_lists_what_there_is():
    out = make("help").stdout
    for target in (
        "setup",
        "recipe-stock",
        "recipe-custom",
        "recipe-baseline",
        "compare",
        "kaggle",
        "blend",
        "search",
        "export",
    ):
        assert f"make {target} " in out
    for target in ("exactness", "bundle", "test", "lint", "doctor", "clean"):
        assert f"make {target} " in out
    assert make().stdout == out


@pytest.mark.parametrize("given", ["do*/*.md other.csv", "it's 내 $x.csv", '~/"a" b'])
def test_a_name_comes_to_the_script_as_it_was_given(given):
    printing = "LAUNCH=printf [%s]"
    out = make("predict", printing, f"MODEL={given}", f"INPUT={given}", f"OUTPUT={given}").stdout
    assert f"[--model][{given}][--input][{given}][--output][{given}]" in out
    for target in ("recipe-stock", "recipe-custom"):
        assert f"[--config][{given}]" in make(target, printing, f"CONFIG={given}").stdout
    assert "[--config]make: " in make("recipe-stock", printing, "CONFIG=").stdout


@pytest.mark.parametrize(
    ("name", "processes"),
    [
        ("stock", 1),
        ("custom", 2),
        pytest.param("custom", 1, marks=pytest.mark.slow),
        pytest.param("stock", 2, marks=pytest.mark.slow),
    ],
)
def test_a_recipe_from_the_makefile(name, processes, competition, tiny_bert, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        f"dataset: {competition}\nmodel: {tiny_bert}\nmax_length: 32\nnum_train_epochs: 1\nbf16: false\n"
    )
    flags = f"--output_dir {tmp_path / 'run'} --per_device_eval_batch_size 7"
    done = make(f"recipe-{name}", f"CONFIG={config}", f"PROCS={processes}", f"ARGS={flags}")
    assert done.returncode == 0, done.stderr
    assert "scores of the best checkpoint" in done.stdout
    assert done.stdout.count("Training ") == 1
    other, many = "custom" if name == "stock" else "stock", f" PROCS={processes}" if processes > 1 else ""
    assert f"Next: make recipe-{other} CONFIG={config}{many} ARGS=" in done.stdout
    assert f"-f {tmp_path}/run/submission.csv -m '{name}, config.yaml'\n" in done.stdout
    assert done.stderr == "" if processes == 1 else "Traceback" not in done.stderr
    with (tmp_path / "run/predictions.csv").open() as file, (competition / "test.csv").open() as test:
        assert [row["id"] for row in csv.DictReader(file)] == [row["id"] for row in csv.DictReader(test)]
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["environment"]["processes"] == processes


@pytest.mark.parametrize("target", ["compare", "kaggle", "search"])
def test_what_comes_after_the_recipes_from_the_makefile(target, competition, tiny_bert, tmp_path):
    flags = f"--dataset {competition} --model {tiny_bert} --max_length 32 --num_train_epochs 1 --bf16 false"
    config = tmp_path / "empty.yaml"
    config.write_text("weight_decay: 0.01\n")
    more = {"search": " --trials 1"}.get(target, "")
    flags += f"{more} --output_dir {tmp_path / 'out'}"
    done = at_once(target, f"CONFIG={config}", "RUNS=baseline stock", "SEEDS=1", f"ARGS={flags}")
    assert done.returncode == 0, done.stderr
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert (
        files
        >= {
            "compare": {"report.html", "comparison.json", "baseline-seed-1", "stock-seed-1"},
            "kaggle": {"submission.csv", "report.html", "folds"},
            "search": {"best.yaml", "trials.sqlite3"},
        }[target]
    )
    if target == "kaggle":
        assert len(list((tmp_path / "out/folds").iterdir())) == 5


def test_a_blend_from_the_makefile(competition, tiny_bert, tmp_path):
    recipe("baseline", tmp_path / "a", competition, tiny_bert, "--folds", "2")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    done = at_once("blend", f"RUNS={tmp_path / 'a'} {tmp_path / 'b'}", f"ARGS=--output_dir {tmp_path / 'blend'}")
    assert done.returncode == 0, done.stderr
    assert "a: weight 0.500" in done.stdout
    files = f"INPUT={competition / 'test.csv'}", f"OUTPUT={tmp_path / 'out.csv'}"
    done = at_once("predict", f"MODEL={tmp_path / 'blend'}", *files)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 31
    done = at_once("blend", f"ARGS=--output_dir {tmp_path / 'blend'}")
    assert done.returncode == 2
    assert done.stderr.startswith("error: baseline is no run's folder: a blend is made of finished runs with --folds.")


@pytest.mark.parametrize("count", ["0", "-1", "two", "", "1 2"])
def test_a_number_of_processes_that_is_none_is_one_sentence(count):
    done = make("predict", f"PROCS={count}", "INPUT=x.csv")
    assert done.returncode == 2
    assert done.stderr.strip().endswith(f"*** PROCS={count}: give a number of processes from 1 on.  Stop.")


def test_a_mistake_on_two_processes_is_one_sentence(tmp_path):
    done = make("recipe-stock", "PROCS=2", f"ARGS=--dataset no/such/place --output_dir {tmp_path / 'run'}")
    assert done.returncode == 2
    sentence, of_make = done.stderr.splitlines()
    assert sentence.startswith("error: --dataset no/such/place: no such file")
    assert of_make.startswith("make: ***")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        ("exit 1", "bert-recipes needs Python 3.11 or newer"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "has no venv module: install it"),
    ],
)
def test_a_python_that_will_not_do_is_one_sentence(python, sentence, tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "embedded.txt"):
        shutil.copy(ROOT / name, tmp_path)
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\n{python}\n")
    fake.chmod(0o755)
    done = make("setup", f"PYTHON={fake}", root=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not (tmp_path / ".venv").exists()
