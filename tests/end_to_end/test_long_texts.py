"""What a run reads of its long texts, its predictor, its model alone and its card say and do too."""

import csv
import json
import shutil

import numpy as np
import pytest
from support.rows import sentence, write_csv
from support.scripts import predictions, recipe
from transformers import pipeline

import bert_recipes as br
from bert_recipes.config.saved import saved_configuration
from bert_recipes.errors import UserError
from bert_recipes.inference.predictor import Predictor

MODES = {
    "head": [],
    "tail": [],
    "head_tail": [],
    "windows": ["--stride", "3", "--max_windows", "4"],
}


@pytest.fixture(scope="module")
def articles(tmp_path_factory):
    """A folder of texts of up to forty words, most of which are truncated to twelve tokens."""
    folder = tmp_path_factory.mktemp("articles")
    train = [[i, " ".join(sentence(i + j) for j in range(1 + i % 6)) + f" {i}", int(i % 3 == 0)] for i in range(60)]
    write_csv(folder / "train.csv", [["id", "text", "target"], *train])
    write_csv(folder / "test.csv", [["id", "text"], *(row[:2] for row in train[:20])])
    return folder


@pytest.fixture(scope="module", params=[("stock", "tail"), *(("custom", mode) for mode in MODES)], ids="-".join)
def run(request, articles, tiny_bert, tmp_path_factory):
    name, mode = request.param
    folder = tmp_path_factory.mktemp("run") / "run"
    flags = ["--long_texts", mode, *MODES[mode], "--max_length", "12"]
    # So that a word more or less is seen in the scores.
    flags += ["--max_steps", "20", "--learning_rate", "3e-3", *(["--pooling", "max"] if name == "custom" else [])]
    recipe(name, folder, articles, tiny_bert, *flags)
    return mode, folder


def probabilities(folder):
    return np.array([[float(row["0"]), float(row["1"])] for row in predictions(folder)])


def texts_of(articles):
    with (articles / "test.csv").open() as file:
        return [row["text"] for row in csv.DictReader(file)]


def test_prediction_reads_as_training_did(run, articles, tmp_path):
    mode, folder = run
    texts, expected = texts_of(articles), probabilities(folder)
    # The model alone, as it is on another machine, has no run.yaml beside it.
    shutil.copytree(folder / "model", alone := tmp_path / "alone")
    for name in (folder, folder / "model", alone):
        found = Predictor.load(str(name), bf16=False, trust_remote_code=True).predict(texts)
        np.testing.assert_allclose(found[["0", "1"]].to_numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(br.load(folder).predict(texts)[["0", "1"]].to_numpy(), expected, atol=1e-2)
    config = json.loads((alone / "config.json").read_text())
    windows = {"stride": 3, "max_windows": 4} if mode == "windows" else {}
    assert config["reading"] == {"max_length": 12, "long_texts": mode, **windows}


def test_a_pipeline_reads_head_and_tail_by_itself_and_else_the_card_says_so(run, articles):
    mode, folder = run
    classify = pipeline("text-classification", model=str(folder / "model"), top_k=None, truncation=True, max_length=12)
    rows = [{score["label"]: score["score"] for score in row} for row in classify(texts_of(articles))]
    apart = np.abs(np.array([[row["0"], row["1"]] for row in rows]) - probabilities(folder)).max()
    assert apart < 1e-5 if mode in ("head", "tail") else apart > 1e-3, apart
    card = (folder / "model/README.md").read_text()
    assert ("A pipeline of transformers reads its first 12 tokens only" in card) == (mode in ("head_tail", "windows"))
    assert "- Long texts: " in card
    assert "truncation=True, max_length=12" in card


def test_the_run_says_how_it_reads(run):
    mode, folder = run
    configuration = saved_configuration(folder)
    assert configuration["long_texts"] == mode
    assert f"long_texts: {mode}" in (folder / "report.html").read_text()


def test_windows_of_the_stock_recipe_in_folds(articles, tiny_bert, tmp_path):
    flags = ["--long_texts", "windows", "--max_length", "12", "--max_steps", "2", "--folds", "2"]
    recipe("stock", tmp_path / "run", articles, tiny_bert, *flags)
    config = json.loads((tmp_path / "run/folds/2/model/config.json").read_text())
    assert config["reading"]["stride"] == 3
    found = [Predictor.load(str(tmp_path / f"run/folds/{i}/model"), bf16=False) for i in (1, 2)]
    both = np.mean([p.predict(texts_of(articles))[["0", "1"]].to_numpy() for p in found], axis=0)
    np.testing.assert_allclose(both, probabilities(tmp_path / "run"), atol=1e-6)


def test_a_run_of_another_reading_is_another_run(articles, tiny_bert, tmp_path):
    flags = ["--max_length", "12", "--max_steps", "2"]
    recipe("stock", tmp_path / "run", articles, tiny_bert, *flags, "--long_texts", "tail")
    with pytest.raises(UserError, match="long_texts is tail there and windows here"):
        recipe("stock", tmp_path / "run", articles, tiny_bert, *flags, "--long_texts", "windows")
    # Made of the model of the first, whose config.json says how that one read.
    model = tmp_path / "run/model"
    recipe("stock", tmp_path / "more", articles, model, *flags, "--long_texts", "head")
    recipe("stock", tmp_path / "unset", articles, model, *flags)
    assert json.loads((tmp_path / "more/model/config.json").read_text())["reading"]["long_texts"] == "head"
    assert "reading" not in json.loads((tmp_path / "unset/model/config.json").read_text())


def test_pairs_are_refused_before_anything_is_written(tiny_bert, tmp_path):
    rows = "".join(f"{sentence(i)} {i},{sentence(i + 1)},{i % 2}\n" for i in range(40))
    (tmp_path / "train.csv").write_text(f"sentence1,sentence2,label\n{rows}")
    with pytest.raises(UserError, match="--long_texts windows is of single texts, and these rows are pairs"):
        recipe("stock", tmp_path / "run", tmp_path / "train.csv", tiny_bert, "--long_texts", "windows")
    assert not (tmp_path / "run").exists()
