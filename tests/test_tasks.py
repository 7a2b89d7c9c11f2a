"""Every task goes end to end through both recipes: guessed, trained, scored, predicted, saved, loaded."""

import csv
import json

import numpy as np
import pytest
from conftest import sentence, write_csv
from scipy.special import softmax
from test_models import encoders  # noqa: F401 (a fixture)
from test_run import own_argv, predictions, recipe  # noqa: F401 (a fixture that undoes what recipe() sets)
from transformers import AutoModelForSequenceClassification, pipeline

from bert_recipes.arguments import CustomArguments
from bert_recipes.encoders import build_classifier
from bert_recipes.errors import UserError
from bert_recipes.labels import Labels
from bert_recipes.prediction import Predictor, TextRow

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


def test_a_submission_may_ask_for_one_column_per_label(tiny_bert, tmp_path):
    rows = [[i, sentence(i) + f" {i}", i % 2, i // 2 % 2] for i in range(60)]
    write_csv(tmp_path / "train.csv", [["id", "text", "hot", "wet"], *rows[:40]])
    write_csv(tmp_path / "test.csv", [["id", "text"], *(row[:2] for row in rows[40:])])
    write_csv(tmp_path / "sample_submission.csv", [["id", "wet", "hot"], *([row[0], 0, 0] for row in rows[:39:-1])])
    flags = ["--label_column", "hot", "wet", "--max_steps", "1"]
    recipe("stock", tmp_path / "run", tmp_path, tiny_bert, *flags)
    of_id = {row["id"]: row for row in predictions(tmp_path / "run")}
    with (tmp_path / "run/submission.csv").open() as file:
        submitted = list(csv.DictReader(file))
    assert [row["id"] for row in submitted] == [str(row[0]) for row in rows[:39:-1]]
    assert all(row["wet"] == of_id[row["id"]]["wet"] and row["hot"] == of_id[row["id"]]["hot"] for row in submitted)
    (tmp_path / "sample_submission.csv").write_text("id,wet,dry\n41,0,0\n")
    with pytest.raises(UserError, match="asks for a column 'dry', which is none of the labels hot, wet"):
        recipe("stock", tmp_path / "other", tmp_path, tiny_bert, *flags)


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


@pytest.mark.parametrize("family", ["distilbert", "roberta", "deberta-v2", "modernbert"])
@pytest.mark.parametrize("name", ["stock", "custom"])
def test_a_recipe_on_another_encoder(name, family, encoders, competition, tmp_path):  # noqa: F811
    flags = ["--max_steps", "2", *(["--pooling", "mean_max", "--layer_decay", "0.8"] if name == "custom" else [])]
    recipe(name, tmp_path / "run", competition, encoders[family], *flags)
    assert len(predictions(tmp_path / "run")) == 30


def test_more_tokens_than_an_encoder_has_positions_for(encoders, competition, tmp_path):  # noqa: F811
    # RoBERTa's positions start after its padding id.
    with pytest.raises(UserError, match="--max_length 64 is more than the 63 that the model takes"):
        recipe("stock", tmp_path / "run", competition, encoders["roberta"], "--max_length", "64")


def test_a_run_with_code_of_ones_own_says_so_and_repeats(tiny_bert, competition, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch.nn import functional as F\n"
        "class First(torch.nn.Module):\n"
        "    def __init__(self, config):\n        super().__init__()\n"
        "    def forward(self, output, attention_mask):\n        return output.last_hidden_state[:, 0]\n"
        "def loss(logits, labels):\n    return F.cross_entropy(logits, labels, reduction='none')\n"
    )
    own = ["--pooling", f"{tmp_path}/mine.py:First", "--loss", f"{tmp_path}/mine.py:loss", "--max_steps", "2"]
    recipe("custom", tmp_path / "own", competition, tiny_bert, *own)
    recipe("custom", tmp_path / "cls", competition, tiny_bert, "--pooling", "cls", "--max_steps", "2")
    assert predictions(tmp_path / "own") == predictions(tmp_path / "cls")
    card = (tmp_path / "own/README.md").read_text()
    assert "the pooling is `mine.py` in the model's folder. It runs only with `trust_remote_code=True`" in card
    assert "trust_remote_code=True)" in card.split("```python")[1]
    assert (tmp_path / "own/model/mine.py").exists()
    recipe("custom", tmp_path / "again", competition, tiny_bert, "--config", str(tmp_path / "own/run.yaml"), *own)
    assert predictions(tmp_path / "again") == predictions(tmp_path / "own")


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


def test_a_submission_for_one_of_several_labels_gets_its_probability(tiny_bert, tmp_path):
    rows = [[i, sentence(i) + f" {i}", i % 2, i // 2 % 2] for i in range(60)]
    write_csv(tmp_path / "train.csv", [["id", "text", "hot", "wet"], *rows[:40]])
    write_csv(tmp_path / "test.csv", [["id", "text"], *(row[:2] for row in rows[40:])])
    write_csv(tmp_path / "sample_submission.csv", [["id", "wet"], *([row[0], 0] for row in rows[40:])])
    recipe("stock", tmp_path / "run", tmp_path, tiny_bert, "--label_column", "hot", "wet", "--max_steps", "1")
    with (tmp_path / "run/submission.csv").open() as file:
        assert [row["wet"] for row in csv.DictReader(file)] == [row["wet"] for row in predictions(tmp_path / "run")]


@pytest.mark.parametrize("name", ["stock", "custom"])
def test_a_run_that_diverges_ends_in_a_sentence(name, competition, tiny_bert, tmp_path):
    flags = ["--learning_rate", "1e30", "--max_grad_norm", "0"]
    with pytest.raises(UserError, match=r"after step \d+ the model's logits are no finite numbers any more: lower"):
        recipe(name, tmp_path / "run", competition, tiny_bert, *flags)


@pytest.mark.parametrize("name", ["stock", "custom"])
def test_pairs_for_an_encoder_with_one_token_type(name, encoders, tmp_path):  # noqa: F811
    rows = [[sentence(i) + f" {i}", sentence(i + 1), i % 2] for i in range(40)]
    write_csv(tmp_path / "train.csv", [["sentence1", "sentence2", "label"], *rows])
    recipe(name, tmp_path / "run", tmp_path / "train.csv", encoders["roberta"], "--max_steps", "1")
    found = predictions(tmp_path / "run")
    assert len(found) == 4
    pairs = [TextRow(row["id"], *rows[int(row["id"])][:2]) for row in found]
    ((_, logits),) = Predictor.load(str(tmp_path / "run"), bf16=False).logits(pairs)
    expected = [float(row["1"]) for row in found]
    np.testing.assert_allclose(softmax(logits, axis=1)[:, 1], expected, atol=1e-5)


def test_what_an_encoder_cannot_do_is_said_before_anything_is_written(encoders, competition, tmp_path):  # noqa: F811
    for flags, sentence_ in (
        (["--gradient_checkpointing"], "AlbertModel does not support it"),
        (["--layer_decay", "0.9"], "AlbertModel does not have 4 layers of its own"),
    ):
        with pytest.raises(UserError, match=sentence_):
            recipe("custom", tmp_path / "run", competition, encoders["albert"], *flags)
    assert not (tmp_path / "run").exists()


def test_own_code_is_carried_as_it_was_when_the_run_began(tiny_bert, tmp_path):
    own = tmp_path / "mine.py"
    code = "import torch\nclass P(torch.nn.Module):\n    def __init__(self, config):\n        super().__init__()\n"
    code += "    def forward(self, output, attention_mask):\n        return output.last_hidden_state[:, 0]\n"
    own.write_text(code)
    labels = Labels("binary", ["no", "yes"], ["label"])
    model = build_classifier(str(tiny_bert), CustomArguments(pooling=f"{own}:P"), labels)
    own.write_text("changed")
    model.save_pretrained(tmp_path / "model")
    assert (tmp_path / "model/mine.py").read_text() == code
