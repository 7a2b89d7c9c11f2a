"""Every task goes end to end through both recipes: guessed, trained, scored, predicted, saved, loaded."""

import csv
import json

import numpy as np
import pytest
from support.rows import sentence, write_csv
from support.scripts import predictions, recipe
from transformers import AutoModelForSequenceClassification, pipeline

from bert_recipes.errors import UserError

COLUMNS = {
    "binary": ["label"],
    "multi-class": ["label"],
    "multi-label": ["tags"],
    "one column per label": ["hot", "wet"],
    "regression": ["score"],
    "several targets": ["joy", "anger"],
}


def labels_of(i, task):
    return {
        "binary": [["no", "yes"][i % 2]],
        "multi-class": [["a", "b", "c"][i % 3]],
        "multi-label": [["hot", "wet", "hot|wet", ""][i % 4]],
        "one column per label": [i % 2, i // 2 % 2],
        "regression": [i % 7 / 2],
        "several targets": [i % 7 / 2, i % 5 - 1],
    }[task]


@pytest.fixture(params=[(task, pair) for task in COLUMNS for pair in (False, True)], ids=str)
def data(request, tmp_path):
    """A folder with eighty rows to train on and twenty unlabelled ones, single texts or pairs."""
    task, pair = request.param
    folder = tmp_path / "data"
    folder.mkdir()
    texts = ["sentence1", "sentence2"] if pair else ["text"]

    def rows(start, stop):
        return [[i, *(sentence(i + j) + f" {i}" for j in range(len(texts)))] for i in range(start, stop)]

    labelled = [row + labels_of(row[0], task) for row in rows(0, 80)]
    write_csv(folder / "train.csv", [["id", *texts, *COLUMNS[task]], *labelled])
    write_csv(folder / "test.csv", [["id", *texts], *rows(80, 100)])
    return task, pair, folder


SCORES = {
    "binary": {"accuracy", "f1", "roc_auc", "confusion_matrix"},
    "multi-label": {"accuracy", "f1_micro", "f1_macro", "per_label"},
    "regression": {"mse", "mae", "r2"},
}


@pytest.mark.parametrize("name", ["stock", "custom"])
def test_a_task_end_to_end(name, data, tiny_bert, tmp_path, capsys):
    task, pair, folder = data
    guessed = {"one column per label": "multi-label", "several targets": "regression"}.get(task, task)
    recipe(name, tmp_path / "run", folder, tiny_bert, "--label_column", *COLUMNS[task], "--max_steps", "3")
    assert f"The task was guessed from the labels: {guessed}" in " ".join(capsys.readouterr().out.split())
    scores = json.loads((tmp_path / "run/metrics.json").read_text())["validation"]
    assert SCORES["binary" if guessed == "multi-class" else guessed] <= set(scores) | {"roc_auc"}
    config = AutoModelForSequenceClassification.from_pretrained(tmp_path / "run/model").config
    kinds = {"multi-label": "multi_label_classification", "regression": "regression"}
    assert config.problem_type == kinds.get(guessed, "single_label_classification")
    rows = predictions(tmp_path / "run")
    assert [row["id"] for row in rows] == [str(i) for i in range(80, 100)]
    card = (tmp_path / "run/README.md").read_text()
    assert f"Task: {guessed}" in card
    losses = {"multi-label": "bce", "regression": "mse"}
    own = (
        f"pooling `pooler`, loss `{losses.get(guessed, 'cross_entropy')}`."
        if name == "custom"
        else "stock model's own."
    )
    assert f"Head and loss: {own}" in card.replace("the stock", "stock")
    if guessed == "multi-label":
        assert list(scores["per_label"]) == list(config.id2label.values())
    check_predictions(guessed, rows, config)
    if not pair:
        check_against_pipeline(guessed, rows, config, tmp_path / "run/model", folder)


def check_predictions(task, rows, config):
    names = list(config.id2label.values())
    for row in rows:
        if task == "regression":
            values = [float(value) for value in row["prediction"].split("|")]
            assert len(values) == len(names)
            assert set(row) == {"id", "prediction"} | (set(names) if len(names) > 1 else set())
            continue
        probabilities = [float(row[name]) for name in names]
        assert all(0 <= p <= 1 for p in probabilities)
        if task == "multi-label":
            assert row["prediction"] == "|".join(n for n, p in zip(names, probabilities, strict=True) if p > 0.5)
        else:
            assert sum(probabilities) == pytest.approx(1, abs=1e-6)
            assert row["prediction"] == names[int(np.argmax(probabilities))]


def check_against_pipeline(task, rows, config, model, folder):
    with (folder / "test.csv").open() as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    answers = pipeline("text-classification", model=str(model), top_k=None)(texts[:3], truncation=True, max_length=32)
    for row, scores in zip(rows, answers, strict=False):
        for score in scores:
            alone = task == "regression" and len(config.id2label) == 1
            cell = row["prediction"] if alone else row[score["label"]]
            assert score["score"] == pytest.approx(float(cell), abs=1e-5)


def test_a_regression_learns_and_chooses_the_lowest_loss(tiny_bert, tmp_path):
    rows = [[i, sentence(i) + f" {i}", len(sentence(i).split()) / 4] for i in range(200)]
    write_csv(tmp_path / "train.csv", [["id", "text", "score"], *rows])
    flags = ["--label_column", "score", "--num_train_epochs", "8", "--learning_rate", "5e-3", "--pooling", "mean"]
    recipe("custom", tmp_path / "run", tmp_path / "train.csv", tiny_bert, *flags)
    scores = json.loads((tmp_path / "run/metrics.json").read_text())["validation"]
    state = json.loads((tmp_path / "run/trainer_state.json").read_text())
    assert scores["spearman"] > 0.5
    losses = [entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry]
    assert state["best_metric"] == min(losses)


WRONG = [
    (
        "stock",
        ["--metric_for_best_model", "f1"],
        "score",
        "f1 is no score of a regression task: take one of loss",
    ),
    ("stock", ["--label_smoothing_factor", "0.1"], "score", "a regression task cannot honour it"),
    ("custom", ["--loss", "focal"], "score", "focal is no loss of a regression task"),
    ("custom", ["--metric_for_best_model", "pearson"], "label", "pearson is no score of a binary task"),
    ("custom", ["--class_weights", "1", "2", "3"], "label", "one positive number for each of the 2 labels"),
    ("custom", ["--pooling", "own.py:Own"], "label", r"there is no file own\.py"),
    ("custom", ["--freeze_layers", "9"], "label", "is more than the 2 layers"),
]


@pytest.mark.parametrize(("name", "flags", "label", "message"), WRONG, ids=[message[:25] for *_, message in WRONG])
def test_what_does_not_fit_the_task_writes_nothing(name, flags, label, message, tiny_bert, tmp_path):
    rows = [[i, sentence(i) + f" {i}", i % 7 / 2, i % 2] for i in range(40)]
    write_csv(tmp_path / "train.csv", [["id", "text", "score", "label"], *rows])
    with pytest.raises(UserError, match=message):
        recipe(name, tmp_path / "run", tmp_path / "train.csv", tiny_bert, "--label_column", label, *flags)
    assert not (tmp_path / "run").exists()


def test_a_score_that_is_undefined_on_validation_cannot_choose(tiny_bert, tmp_path):
    write_csv(tmp_path / "train.csv", [["text", "label"], *([sentence(i) + f" {i}", i % 2] for i in range(40))])
    write_csv(tmp_path / "validation.csv", [["text", "label"], *([sentence(i) + f" {i}", 1] for i in range(8))])
    flags = ["--max_steps", "2", "--metric_for_best_model"]
    with pytest.raises(UserError, match="roc_auc is undefined on these validation rows, where a class is absent"):
        recipe("stock", tmp_path / "run", tmp_path, tiny_bert, *flags, "roc_auc")
    recipe("stock", tmp_path / "other", tmp_path, tiny_bert, *flags, "accuracy")
    scores = json.loads((tmp_path / "other/metrics.json").read_text())["validation"]
    assert "roc_auc" not in scores


def test_weights_balanced_by_the_labels_of_train(tiny_bert, tmp_path):
    rows = [[i, sentence(i) + f" {i}", ["hot", "wet", "hot|wet", "", "hot"][i % 5], i % 3 // 2] for i in range(60)]
    write_csv(tmp_path / "train.csv", [["id", "text", "tags", "label"], *rows])
    for column, flag in (("tags", "--pos_weight"), ("label", "--class_weights")):
        flags = ["--label_column", column, flag, "balanced", "--max_steps", "1"]
        recipe("custom", tmp_path / column, tmp_path / "train.csv", tiny_bert, *flags)
        assert f"{flag.removeprefix('--')} `['balanced']`" in (tmp_path / column / "README.md").read_text()


@pytest.mark.parametrize("name", ["stock", "custom"])
def test_a_run_that_diverges_ends_in_a_sentence(name, competition, tiny_bert, tmp_path):
    flags = ["--learning_rate", "1e30", "--max_grad_norm", "0"]
    with pytest.raises(UserError, match=r"after step \d+ the model's logits are not finite any more: lower"):
        recipe(name, tmp_path / "run", competition, tiny_bert, *flags)
