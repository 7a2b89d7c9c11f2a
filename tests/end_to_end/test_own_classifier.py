"""A classifier of a user's own, with a column beside the text, gets all that a recipe gives."""

import csv
import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from support.paths import OWN_CLASSIFIERS, RECIPES
from support.rows import sentence, write_csv
from support.scripts import in_a_line, predictions, recipe, run_script
from torch import nn
from transformers import AutoModel

import bert_recipes as br
from bert_recipes.errors import UserError

SPEC = f"{OWN_CLASSIFIERS}:WithColumns"
EVERY_FIVE = ["--eval_strategy", "steps", "--eval_steps", "5", "--save_strategy", "steps", "--save_steps", "5"]


def rows_of(count, start=0):
    """Return rows whose label their keyword tells; every tenth has none, and one of each split has one of its own."""
    for i in range(start, start + count):
        keyword = "" if i % 10 == 3 else f"rare {i}" if i % 20 == 7 else ["storm", "party"][i % 2]
        yield [i, f"{sentence(i // 2)} {i}", keyword, i % 7 * 1.5, i % 2]


@pytest.fixture(scope="module")
def tweets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tweets")
    header = ["id", "text", "keyword", "price", "target"]
    write_csv(folder / "train.csv", [header, *rows_of(100)])
    write_csv(folder / "test.csv", [header[:-1], *(row[:-1] for row in rows_of(30, 200))])
    write_csv(folder / "sample_submission.csv", [["id", "target"], *([row[0], 0] for row in rows_of(30, 200))])
    return folder


@pytest.fixture(scope="module")
def folded(tweets, tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("folded") / "run"
    flags = ("--folds", "2", "--learning_rate", "1e-2", "--num_train_epochs", "6")
    recipe("custom", folder, tweets, tiny_bert, "--classifier", SPEC, *flags)
    return folder


def cells(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def assert_same(rows, expected):
    """Assert that rows are predicted as before, but for the last digits, which depend on the batch."""
    assert [row.keys() for row in rows] == [{"id", "prediction", "0", "1"}] * len(expected)
    for name in ("id", "prediction"):
        assert [row[name] for row in rows] == [row[name] for row in expected]
    for name in ("0", "1"):
        found, before = ([float(row[name]) for row in some] for some in (rows, expected))
        np.testing.assert_allclose(found, before, atol=1e-6)


def test_folds_learn_their_categories_from_their_own_training_rows(folded, tweets):
    keywords = {row["id"]: row["keyword"] for row in cells(tweets / "train.csv")}
    fold_of = {row["id"]: row["fold"] for row in cells(folded / "validation_predictions.csv")}
    for fold in "12":
        config = json.loads((folded / f"folds/{fold}/model/config.json").read_text())
        trained = {keyword for row, keyword in keywords.items() if fold_of[row] != fold and keyword}
        assert config["columns"]["keyword"]["categories"] == sorted(trained)
    metrics = json.loads((folded / "metrics.json").read_text())
    assert metrics["validation"]["accuracy"] > 0.8  # by the keyword
    assert len(cells(folded / "submission.csv")) == 30
    assert (folded / "report.html").is_file()


def test_the_run_names_the_classifier_and_its_columns(folded):
    configuration = yaml.safe_load((folded / "run.yaml").read_text())
    assert configuration["classifier"] == SPEC
    assert configuration["extra_columns"] == ["keyword", "price"]
    assert (folded / "code/own_classifier.py").read_text() == OWN_CLASSIFIERS.read_text()
    card = (folded / "README.md").read_text()
    assert "classifier `own_classifiers.py:WithColumns`, loss `cross_entropy`." in card
    assert "Columns beside the text: `keyword`, `price`." in card
    assert "the classifier is `own_classifiers.py` in the model's folder" in card
    assert str(OWN_CLASSIFIERS.parent) not in card
    page = (folded / "report.html").read_text()
    assert SPEC in page
    assert "keyword" in page


def test_a_fold_predicts_new_rows_as_it_predicted_them(folded, tweets, tmp_path, capsys):
    fold = folded / "folds/1"
    run_script(
        RECIPES / "predict.py",
        *("--model", fold, "--input", tweets / "test.csv", "--output", tmp_path / "out.csv", "--trust_remote_code"),
    )
    assert_same(cells(tmp_path / "out.csv"), predictions(fold))
    assert "Column 'keyword': " in in_a_line(capsys.readouterr().err)
    frame = pd.DataFrame(cells(tweets / "test.csv"))
    found = br.load(fold, trust_remote_code=True).predict(frame)
    np.testing.assert_allclose(found["1"], [float(row["1"]) for row in predictions(fold)], atol=1e-6)
    loaded = br.load(fold / "model", trust_remote_code=True)
    np.testing.assert_allclose(loaded.predict(frame)["1"], found["1"], atol=1e-6)


def test_rows_without_the_column_cannot_be_predicted(folded, tweets, tmp_path):
    run = br.load(folded / "folds/1", trust_remote_code=True)
    for given in (["fire in the party"], pd.DataFrame({"text": ["fire"], "keyword": ["storm"]})):
        with pytest.raises(UserError, match=r"was trained with the column '(keyword|price)' beside the text"):
            run.predict(given)
    with pytest.raises(UserError, match=r"is code that it carries, own_classifiers\.py:WithColumns: read it"):
        br.load(folded / "folds/1").predict(["fire"])
    with pytest.raises(UserError, match=r"is a classifier of the user's own, .*: start from the encoder"):
        recipe("custom", tmp_path / "again", tweets, folded / "folds/1/model", "--trust_remote_code")


def test_numbers_with_a_decimal_comma_are_predicted_as_the_run_did(tweets, tiny_bert, tmp_path, capsys):
    (data := tmp_path / "data").mkdir()
    for file in tweets.iterdir():
        header, *rows = csv.reader(file.open())
        write_csv(data / file.name, [header, *([cell.replace(".", ",") for cell in row] for row in rows)])
    flags = ("--classifier", SPEC, "--decimal", ",", "--max_steps", "2", "--save_strategy", "no")
    flags = (*flags, "--eval_strategy", "no", "--load_best_model_at_end", "false")
    recipe("custom", tmp_path / "run", data, tiny_bert, *flags)
    assert "Column 'price': numbers, as they are." in in_a_line(capsys.readouterr().out)
    given = ("--model", tmp_path / "run", "--input", data / "test.csv", "--output", tmp_path / "out.csv")
    run_script(RECIPES / "predict.py", *given, "--trust_remote_code")
    assert_same(cells(tmp_path / "out.csv"), predictions(tmp_path / "run"))


def forget(file):
    """Let a file be read anew, as in another process."""
    del sys.modules[f"own_code:{file}"]


def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(tweets, tiny_bert, tmp_path):
    file = tmp_path / "mine.py"
    shutil.copy(OWN_CLASSIFIERS, file)
    shutil.copytree(tweets, data := tmp_path / "data")
    flags = ("--classifier", f"{file}:WithColumns", "--max_steps", "10", *EVERY_FIVE)
    whole, part = tmp_path / "whole", tmp_path / "part"
    recipe("custom", whole, data, tiny_bert, *flags)
    shutil.copytree(whole, part)
    shutil.rmtree(part / "checkpoints/checkpoint-10")
    shutil.rmtree(part / "model")
    for name in ("metrics.json", "trainer_state.json", "predictions.csv"):
        (part / name).unlink()
    unchanged = file.read_text()
    file.write_text(unchanged.replace("price[:, None] / 10", "price[:, None] / 20"))
    forget(file)
    with pytest.raises(UserError, match=r"holds a run with another own_classifier\.py"):
        recipe("custom", part, data, tiny_bert, *flags)
    file.write_text(unchanged)
    forget(file)
    rows = (data / "train.csv").read_text()
    (data / "train.csv").write_text(rows.replace(",storm,", ",gale,", 1))
    with pytest.raises(UserError, match=r"began with other rows of train \(keyword\)"):
        recipe("custom", part, data, tiny_bert, *flags)
    (data / "train.csv").write_text(rows)
    recipe("custom", part, data, tiny_bert, *flags)
    for name in ("model/model.safetensors", "predictions.csv"):
        assert (part / name).read_bytes() == (whole / name).read_bytes()


def test_with_the_column_and_without_it_runs_can_be_compared(tweets, tiny_bert, tmp_path):
    flags = ("--max_steps", "4", *EVERY_FIVE[:2], "--eval_steps", "2", *EVERY_FIVE[4:6], "--save_steps", "2")
    for name in ("WithColumns", "TextAlone"):
        recipe("custom", tmp_path / name, tweets, tiny_bert, "--classifier", f"{OWN_CLASSIFIERS}:{name}", *flags)
    compared = br.compare(tmp_path / "WithColumns", tmp_path / "TextAlone", output_dir=tmp_path / "compared")
    assert len(compared.verdicts) == 1


class Squeezed(nn.Module):
    """A classifier that a program defines."""

    def __init__(self, model_dir, task, columns):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(model_dir)
        self.keywords = nn.Embedding(columns["keyword"], self.encoder.config.hidden_size)
        self.classifier = nn.Linear(self.encoder.config.hidden_size, len(task.label_names))

    def forward(self, input_ids, attention_mask, keyword):
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        return self.classifier(torch.tanh(output.pooler_output + self.keywords(keyword)))


def test_a_class_from_python_is_written_down_as_it_ran(tiny_bert, tmp_path, monkeypatch):
    frame = pd.DataFrame([*rows_of(60)], columns=["id", "text", "keyword", "price", "target"])
    shared = {"model": str(tiny_bert), "max_length": 32, "max_steps": 2, "bf16": False, "save_strategy": "no"}
    shared |= {"eval_strategy": "no", "load_best_model_at_end": False}
    run = br.train("custom", dataset=frame, classifier=Squeezed, output_dir=str(tmp_path / "run"), **shared)
    assert run.configuration["classifier"] == f"{tmp_path}/run/code/own_classifier.py:Squeezed"
    assert "class Squeezed(nn.Module):" in (tmp_path / "run/model/own_classifier.py").read_text()
    validation = cells(tmp_path / "run/validation_predictions.csv")
    found = run.predict(pd.DataFrame(validation)[["text", "keyword"]])
    np.testing.assert_allclose(found["1"], [float(row["1"]) for row in validation], atol=1e-6)
    # What the card shows works beside it.
    monkeypatch.chdir(tmp_path / "run")
    exec((tmp_path / "run/README.md").read_text().split("```python")[1].split("```")[0], {})


def test_the_stock_recipe_has_no_such_flag(tweets, tiny_bert, tmp_path):
    with pytest.raises(UserError, match="no flag --classifier in this recipe: it is one of the custom recipe's"):
        recipe("stock", tmp_path / "run", tweets, tiny_bert, "--classifier", SPEC)


def test_a_search_leaves_its_parts_alone(tweets, tiny_bert, tmp_path):
    recipe("search", tmp_path / "search", tweets, tiny_bert, "--classifier", SPEC, "--trials", "1")
    best = yaml.safe_load((tmp_path / "search/best.yaml").read_text())
    assert best["classifier"] == SPEC
    assert (best["pooling"], best["layer_decay"]) == ("pooler", 1.0)
