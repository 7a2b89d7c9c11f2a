"""The run folder: complete, guarded, repeatable; and the recipes' scripts that fill it."""

import csv
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from transformers import AutoModelForSequenceClassification, pipeline

from bert_recipes.errors import UserError

RECIPES = Path(__file__).parents[1] / "recipes"
FILES = {
    *("run.yaml", "metrics.json", "trainer_state.json", "predictions.csv", "submission.csv"),
    *("model", "checkpoints", "README.md", "report.html", "plots", "validation_predictions.csv"),
}


def recipe(name, folder, data, model, *flags):
    """Run a recipe in this process; a mistake comes out as the `UserError` that the user would read."""
    sys.argv = [
        f"recipes/{name}.py",
        *("--dataset", str(data), "--model", str(model), "--output_dir", str(folder), "--max_length", "32"),
        *("--num_train_epochs", "1", "--logging_steps", "1", "--bf16", "false", "--learning_rate", "1e-3"),
        *flags,
        "--debug",
    ]
    runpy.run_path(str(RECIPES / f"{name}.py"), run_name="__main__")


@pytest.fixture(autouse=True)
def own_argv(monkeypatch):
    monkeypatch.setattr(sys, "argv", [])


@pytest.fixture(scope="module", params=["stock", "custom"])
def finished(request, competition, tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / request.param
    argv = sys.argv
    recipe(request.param, folder, competition, tiny_bert)
    sys.argv = argv
    return request.param, folder


def predictions(folder):
    with (folder / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_folder_is_complete(finished):
    _, folder = finished
    assert {path.name for path in folder.iterdir()} == FILES
    assert {path.name for path in (folder / "model").iterdir()} >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics) == {"train", "validation", "environment"}
    assert 0 <= metrics["validation"]["f1"] <= 1
    assert metrics["environment"]["versions"]["torch"]
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    assert {"loss", "grad_norm", "learning_rate"} <= set(log[0])


def test_every_test_row_is_predicted_in_the_order_of_the_file(finished, competition):
    _, folder = finished
    with (competition / "test.csv").open() as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    rows = predictions(folder)
    assert [row["id"] for row in rows] == ids
    for row in rows:
        assert float(row["0"]) + float(row["1"]) == pytest.approx(1, abs=1e-6)
        assert row["prediction"] == max("01", key=lambda name: float(row[name]))


def test_the_submission_has_the_samples_ids_in_the_samples_order(finished, competition):
    _, folder = finished
    sample = (competition / "sample_submission.csv").read_text().splitlines()
    submission = (folder / "submission.csv").read_text().splitlines()
    assert submission[0] == sample[0]
    assert [line.split(",")[0] for line in submission] == [line.split(",")[0] for line in sample]
    predicted = {row["id"]: row["prediction"] for row in predictions(folder)}
    assert dict(line.split(",") for line in submission[1:]) == predicted


def test_the_saved_model_gives_the_predictions_again(finished, competition):
    _, folder = finished
    with (competition / "test.csv").open() as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    model = AutoModelForSequenceClassification.from_pretrained(folder / "model")
    classify = pipeline("text-classification", model=str(folder / "model"), top_k=None)
    assert model.config.id2label == {0: "0", 1: "1"}
    for text, row in zip(texts, predictions(folder), strict=True):
        for score in classify([text], truncation=True, max_length=32)[0]:
            assert score["score"] == pytest.approx(float(row[score["label"]]), abs=1e-5)


def test_the_model_card_tells_how_to_load_the_model(finished):
    name, folder = finished
    card = (folder / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["pipeline_tag"] == "text-classification"
    code = card.split("```python\n")[1].split("```")[0]
    assert ("import bert_recipes" in code) == (name == "custom")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "score" in done.stdout


def test_a_finished_run_is_not_overwritten(finished, competition, tiny_bert):
    name, folder = finished
    before = (folder / "metrics.json").read_bytes()
    with pytest.raises(UserError, match=r"holds a finished run.*--overwrite"):
        recipe(name, folder, competition, tiny_bert)
    with pytest.raises(UserError, match=r"another configuration \(learning_rate is 0.001 there and 0.01 here\)"):
        recipe(name, folder, competition, tiny_bert, "--learning_rate", "1e-2")
    assert (folder / "metrics.json").read_bytes() == before


def test_run_yaml_repeats_the_run(finished, tmp_path):
    name, folder = finished
    sys.argv = [name, "--config", str(folder / "run.yaml"), "--output_dir", str(tmp_path / "again")]
    runpy.run_path(str(RECIPES / f"{name}.py"), run_name="__main__")
    assert (tmp_path / "again/predictions.csv").read_bytes() == (folder / "predictions.csv").read_bytes()


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


def test_a_labelled_test_split_is_scored_and_predicted(competition, tiny_bert, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(competition / "train.csv", data / "train.csv")
    shutil.copy(competition / "train.csv", data / "test.csv")
    recipe("custom", tmp_path / "run", data, tiny_bert, "--pooling", "mean", "--class_weights", "balanced")
    rows = predictions(tmp_path / "run")
    test = json.loads((tmp_path / "run/metrics.json").read_text())["test"]
    with (data / "test.csv").open() as file:
        truth = [row["target"] for row in csv.DictReader(file)]
    right = np.mean([row["prediction"] == label for row, label in zip(rows, truth, strict=True)])
    assert test["accuracy"] == pytest.approx(right)
    assert not (tmp_path / "run/submission.csv").exists()


def test_without_a_test_split_validation_is_predicted(competition, tiny_bert, tmp_path):
    recipe("stock", tmp_path / "run", competition / "train.csv", tiny_bert, "--validation_size", "0.2")
    assert len(predictions(tmp_path / "run")) == 20


def test_a_sample_submission_of_other_rows_is_an_error_before_training(competition, tiny_bert, tmp_path):
    shutil.copytree(competition, tmp_path / "data")
    (tmp_path / "data/sample_submission.csv").write_text("id,target\n1,0\n999,0\n")
    with pytest.raises(UserError, match="ids that test does not have, such as 999"):
        recipe("stock", tmp_path / "run", tmp_path / "data", tiny_bert)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--dataset", "no/such/place"], "no such file or folder"),
        (["--model", "no/such/model/here"], "neither a model folder nor a Hub id"),
        (["--class_weights", "1", "2", "3"], "one positive number for each of the 2 labels"),
        (["--max_length", "65"], "the model takes 64|is more than the 64"),
        (["--output_dir", "/dev/null/run"], "cannot be written"),
        (["--output_dir", __file__], "is a file"),
    ],
)
def test_a_mistake_writes_nothing(flags, sentence, competition, tiny_bert, tmp_path):
    with pytest.raises(UserError, match=sentence):
        recipe("custom", tmp_path / "run", competition, tiny_bert, *flags)
    assert not (tmp_path / "run").exists()


def test_a_mistake_at_the_command_line_is_one_sentence_and_status_2():
    command = [sys.executable, str(RECIPES / "stock.py"), "--dataset", "no/such/place"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --dataset no/such/place")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    debugged = subprocess.run([*command, "--debug"], capture_output=True, text=True)
    assert "Traceback" in debugged.stderr


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
    with pytest.raises(UserError, match="GiB of free space, and the checkpoints need"):
        recipe("stock", small_disk / "run", competition, "embedded:minilm")
    assert not list(small_disk.iterdir())


def test_a_disk_that_fills_up_while_training_is_one_sentence(small_disk, competition, tiny_bert):
    flags = ["--save_strategy", "steps", "--eval_strategy", "steps", "--save_steps", "1", "--eval_steps", "1"]
    sys.argv = []
    command = [sys.executable, str(RECIPES / "stock.py"), "--dataset", str(competition), "--model", str(tiny_bert)]
    command += ["--output_dir", str(small_disk / "run"), "--save_total_limit", "100", "--max_length", "32", *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
