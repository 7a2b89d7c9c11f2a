"""A run folder: complete, right, and repeated by its run.yaml."""

import csv
import json
import shutil

import numpy as np
import pytest
from support.paths import RECIPES
from support.scripts import predictions, recipe, run_script
from transformers import AutoModelForSequenceClassification, pipeline

from bert_recipes.errors import UserError

FILES = {
    *("run.yaml", "metrics.json", "trainer_state.json", "predictions.csv", "submission.csv"),
    *("model", "checkpoints", "README.md", "report.html", "plots", "validation_predictions.csv"),
}


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


def test_run_yaml_repeats_the_run(finished, tmp_path):
    name, folder = finished
    flags = ("--config", folder / "run.yaml", "--output_dir", tmp_path / "again")
    run_script(RECIPES / f"{name}.py", *flags)
    assert (tmp_path / "again/predictions.csv").read_bytes() == (folder / "predictions.csv").read_bytes()


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
