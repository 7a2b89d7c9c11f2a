"""The line that starts the next recipe is one that works where this one was started."""

import dataclasses
import shlex
import sys
from pathlib import Path

import pandas as pd
import pytest
from support.parsing import config, parse
from support.paths import RECIPES, ROOT
from support.started import run

from bert_recipes.config.arguments import CustomArguments, StockArguments
from bert_recipes.config.parsing import make_arguments
from bert_recipes.config.start import Start, what_finishes

FLAGS = (
    "--dataset",
    "my data.csv",
    "--pooling",
    "mean",
    "--max_length=64",
    "--output_dir",
    "runs/mine",
    "--overwrite",
)


@pytest.fixture
def by_script(monkeypatch):
    monkeypatch.delenv("MAKELEVEL", raising=False)
    monkeypatch.setattr("sys.argv", [str(RECIPES / "custom.py")])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)


def test_by_make(monkeypatch, tmp_path):
    monkeypatch.setenv("MAKELEVEL", "1")
    named = config(tmp_path, "num_train_epochs: 1\n")
    start = parse(*named, *FLAGS).start
    assert start.line("stock") == (
        f"make recipe-stock CONFIG={named[1]} ARGS=" + shlex.quote("--dataset 'my data.csv' --max_length 64")
    )
    assert parse(*named).start.line("stock") == f"make recipe-stock CONFIG={named[1]}"
    assert start.on_gpus("custom", 2) == "make recipe-custom PROCS=2"
    on_two = dataclasses.replace(parse(*named).start, processes=2)
    assert on_two.line("stock") == f"make recipe-stock CONFIG={named[1]} PROCS=2"


def test_by_a_script(by_script):
    start = parse(*FLAGS).start
    script = RECIPES / "stock.py"
    assert start.line("stock") == f"python {script} --dataset 'my data.csv' --max_length 64"
    assert start.on_gpus("stock", 2) == f"accelerate launch --multi_gpu --num_processes 2 {script}"
    assert start.with_config("stock", "best.yaml") == f"python {script} --config best.yaml"
    launched = f"accelerate launch --multi_gpu --num_processes 2 {script}"
    on_two = dataclasses.replace(start, processes=2)
    assert on_two.line("stock") == f"{launched} --dataset 'my data.csv' --max_length 64"


def test_from_the_installed_package(by_script, monkeypatch):
    from importlib.machinery import ModuleSpec

    monkeypatch.setattr(sys.modules["__main__"], "__spec__", ModuleSpec("bert_recipes.recipes.custom", None))
    start = parse("--max_length", "64").start
    assert start.line("stock") == "python -m bert_recipes.recipes.stock --max_length 64"
    assert start.on_gpus("stock", 2).endswith(" -m bert_recipes.recipes.stock")


def test_from_python(tmp_path):
    frame = pd.DataFrame({"text": ["fire"], "label": [1]})
    named = config(tmp_path, "num_train_epochs: 1\n")[1]
    values = {"dataset": frame, "labels": ["0", "1"], "learning_rate": 1e-4, "pooling": "mean", "output_dir": "runs/a"}
    start = make_arguments(CustomArguments, values, named).start
    assert start.line("stock") == (
        f"br.train(\"stock\", config='{named}', dataset=…, labels=['0', '1'], learning_rate=0.0001)"
    )
    assert make_arguments(StockArguments, {}).start.line("custom") == 'br.train("custom")'


@pytest.mark.parametrize("name", ["stock", "custom", "baseline"])
def test_an_unfinished_run_is_finished_with_what_it_keeps(name, by_script, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for output_dir, there in (("runs/a", "runs/a"), ("runs/a", "b c")):
        Path(there, "folds/2").mkdir(parents=True)
        for folder in (Path(there), Path(there, "folds/2")):
            (folder / "run.yaml").write_text(f"recipe: {name}\noutput_dir: {output_dir}\n")
    monkeypatch.setattr("sys.argv", [str(RECIPES / "predict.py")])
    script = RECIPES / f"{name}.py"
    for part in ("", "folds/2"):
        assert what_finishes(Path("runs/a", part)) == f"python {script} --config runs/a/run.yaml"
    assert what_finishes(Path("b c")) == f"python {script} --config 'b c/run.yaml' --output_dir 'b c'"
    monkeypatch.setenv("MAKELEVEL", "1")
    assert what_finishes(Path("runs/a")) == f"make recipe-{name} CONFIG=runs/a/run.yaml"
    monkeypatch.setattr("sys.argv", ["my_own.py"])
    from_python = f"br.train(\"{name}\", config='runs/a/run.yaml')"
    assert what_finishes(Path("runs/a")) == from_python
    monkeypatch.setattr("sys.argv", [""])  # at the prompt
    assert what_finishes(Path("runs/a")) == from_python


def test_a_run_of_two_processes_is_finished_by_two(by_script, monkeypatch, tmp_path):
    folder = tmp_path / "folds/a"  # which is no fold of a run
    for checkpoint, count in (("checkpoint-5", 2), ("checkpoint-10", 0)):
        (folder / "checkpoints" / checkpoint).mkdir(parents=True)
        for i in range(count):
            (folder / "checkpoints" / checkpoint / f"rng_state_{i}.pth").touch()
    (folder / "run.yaml").write_text(f"recipe: stock\noutput_dir: {folder}\n")
    monkeypatch.setenv("MAKELEVEL", "1")
    assert what_finishes(folder) == f"make recipe-stock CONFIG={folder}/run.yaml PROCS=2"


@pytest.mark.parametrize(
    ("environment", "processes"),
    [
        ({"LOCAL_WORLD_SIZE": "2"}, 2),
        ({"LOCAL_WORLD_SIZE": "1"}, 1),
        ({"LOCAL_WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true"}, 1),
    ],
)
def test_processes_are_named_that_a_command_starts_alike(environment, processes, monkeypatch):
    for name, value in ({"RANK": "0", "WORLD_SIZE": "2"} | environment).items():
        monkeypatch.setenv(name, value)
    assert Start.by_command([], None).processes == processes


@pytest.mark.parametrize("text", ["recipe: blend\n", "recipe: stock\ndataset: ['python:DataFrame']\n", "seed: 1\n"])
def test_what_no_configuration_finishes_has_no_command(text, tmp_path):
    (tmp_path / "run.yaml").write_text(text)
    assert what_finishes(tmp_path) == "the command or call that began it."


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("recipe: custom\n", "another recipe's"),
        ("pooling: mean\n", "with another recipe's choices"),
        ("output_dir: runs/mine\n", "that names this run's folder"),
    ],
)
def test_no_line_with_a_configuration(text, why, tmp_path):
    start = parse(*config(tmp_path, text)).start
    assert start.line("stock") is None, why


def test_what_is_nobody_elses_business_is_left_out(by_script):
    start = parse("--hub_token", "secret", "--push_to_hub", "--hub_model_id", "me/mine", "--seed", "3").start
    assert start.line("stock").endswith("stock.py --seed 3")


@pytest.mark.slow
def test_the_line_starts_the_other_recipe(competition, tiny_bert, tmp_path, monkeypatch):
    monkeypatch.delenv("MAKELEVEL", raising=False)
    flags = ["--dataset", str(competition), "--model", str(tiny_bert), "--max_length", "32", "--max_steps", "1"]
    first = [sys.executable, str(RECIPES / "custom.py"), *flags, "--pooling", "mean", "--output_dir", "runs/a"]
    monkeypatch.chdir(tmp_path)
    said = run(first, check=True).stdout
    line = said.partition("Next: ")[2].partition(", the other side")[0]
    again = [sys.executable, *shlex.split(line)[1:]]
    done = run(again)
    assert done.returncode == 0, (line, done.stderr)
    assert (tmp_path / "runs/stock/metrics.json").is_file()
    assert ROOT not in (tmp_path / "runs").parents


def test_letters_of_any_script_need_no_quotes(monkeypatch):
    monkeypatch.delenv("MAKELEVEL", raising=False)
    start = Start.by_command(["--text_column", "문장", "--dataset", "my folder"], None)
    assert start.line("custom").endswith("--text_column 문장 --dataset 'my folder'")
