"""What people ask of a training, asked for together: folds, refit, windows, a classifier of one's own, going on."""

import json

import numpy as np
import pandas as pd
import pytest
from support.paths import OWN_CLASSIFIERS, RECIPES
from support.rows import sentence, write_csv
from support.scripts import in_a_line, recipe, run_script
from transformers import pipeline

import bert_recipes as br
from bert_recipes.errors import UserError

CLASSIFIER = ["--classifier", f"{OWN_CLASSIFIERS}:WithColumns"]
WINDOWS = ["--max_length", "8", "--long_texts", "windows", "--stride", "2"]
CALLBACK = """
from transformers import TrainerCallback


class Stopping(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == 3
"""


NORMALIZED = ["--normalize", "entities", "urls", "mentions"]


@pytest.fixture(scope="module")
def tweets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tweets")
    header = ["id", "text", "keyword", "price", "target"]
    rows = [
        [i, f"{sentence(i // 2)} {sentence(i)}", ["storm", "party", ""][i % 3], i % 7 * 1.5, i % 2] for i in range(90)
    ]
    write_csv(folder / "train.csv", [header, *rows[:70]])
    write_csv(folder / "test.csv", [header[:-1], *(row[:-1] for row in rows[70:])])
    return folder


def probabilities_of(folder):
    return pd.read_csv(folder / "predictions.csv").filter(regex="^[01]$").to_numpy()


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("stock", [*WINDOWS, "--folds", "2"]),
        ("custom", [*WINDOWS, *CLASSIFIER]),
        ("custom", [*WINDOWS, *CLASSIFIER, "--folds", "2", "--loss", "r_drop"]),
        ("custom", [*WINDOWS, "--label_smoothing_factor", "0.1", "--lora_rank", "2"]),
        ("stock", [*NORMALIZED, *WINDOWS]),
    ],
    ids=[
        *("windows in folds", "classifier in windows", "classifier in windows and folds", "LoRA in windows"),
        "normalized texts in windows",
    ],
)
def test_a_run_predicts_again_what_it_predicted(name, flags, tweets, tiny_bert, tmp_path):
    recipe(name, tmp_path / "run", tweets, tiny_bert, *flags, "--max_steps", "4")
    again = tmp_path / "again.csv"
    run_script(
        RECIPES / "predict.py",
        *("--model", tmp_path / "run", "--input", tweets / "test.csv", "--output", again),
        *("--bf16", "false", "--trust_remote_code"),
    )
    found = pd.read_csv(again).filter(regex="^[01]$").to_numpy()
    np.testing.assert_allclose(found, probabilities_of(tmp_path / "run"), atol=2e-6)


@pytest.mark.parametrize(
    "flags", [WINDOWS, CLASSIFIER, [*WINDOWS, *CLASSIFIER]], ids=["windows", "classifier", "both"]
)
def test_a_refit_is_of_the_same_kind_as_its_folds(flags, tweets, tiny_bert, tmp_path):
    recipe("custom", tmp_path / "run", tweets, tiny_bert, *flags, "--folds", "2", "--refit", "--max_steps", "4")
    config = json.loads((tmp_path / "run/model/config.json").read_text())
    assert ("reading" in config) == ("--long_texts" in flags)
    assert ("columns" in config) == ("--classifier" in flags)
    frame = pd.read_csv(tweets / "test.csv")
    assert len(br.load(tmp_path / "run", trust_remote_code=True).predict(frame)) == 20


def test_a_callback_that_stops_stops_each_fold(tweets, tiny_bert, tmp_path):
    (tmp_path / "mine.py").write_text(CALLBACK)
    flags = ["--folds", "2", "--max_steps", "6", "--callbacks", f"{tmp_path}/mine.py:Stopping"]
    recipe("custom", tmp_path / "run", tweets, tiny_bert, *flags)
    for fold in "12":
        metrics = json.loads((tmp_path / f"run/folds/{fold}/metrics.json").read_text())
        assert metrics["train"]["stopped_early"] == [3, 6]


@pytest.mark.parametrize(("name", "flags"), [("stock", []), ("custom", ["--pooling", "mean", "--head_layers", "1"])])
def test_a_classifier_of_ones_own_goes_on_from_a_run(name, flags, tweets, tiny_bert, tmp_path):
    recipe(name, tmp_path / "first", tweets, tiny_bert, *flags, "--max_steps", "2")
    recipe("custom", tmp_path / "second", tweets, tmp_path / "first", *CLASSIFIER, "--max_steps", "2")
    again = ["--config", tmp_path / "second/run.yaml", "--output_dir", tmp_path / "again", "--debug"]
    run_script(RECIPES / "custom.py", *again)
    weights = [(tmp_path / run / "model/model.safetensors").read_bytes() for run in ("second", "again")]
    assert weights[0] == weights[1]


def test_nothing_goes_on_from_a_classifier_of_ones_own_but_says_so(tweets, tiny_bert, tmp_path):
    recipe("custom", tmp_path / "first", tweets, tiny_bert, *CLASSIFIER, "--max_steps", "2")
    for name in ("stock", "custom"):
        with pytest.raises(UserError, match="a classifier of the user's own"):
            recipe(name, tmp_path / "second", tweets, tmp_path / "first", "--max_steps", "2")


@pytest.mark.parametrize("name", ["stock", "custom", "baseline"])
def test_normalized_texts_are_read_alike_by_whoever_loads_the_model(name, tweets, tiny_bert, tmp_path, capsys):
    rows = pd.read_csv(tweets / "train.csv")
    noise = [f" http://t.co/{i} @name{i} &lt;3" for i in range(len(rows))]
    rows.assign(text=rows.text + noise).to_csv(tmp_path / "noisy.csv", index=False)
    rows.assign(text=rows.text + " http @user <3").to_csv(tmp_path / "clean.csv", index=False)
    for data, flags in (("noisy", NORMALIZED), ("clean", [])):
        recipe(name, tmp_path / data, tmp_path / f"{data}.csv", tiny_bert, *flags, "--folds", "2", "--max_steps", "2")
    assert "URLs as http, mentions as @user" in in_a_line(capsys.readouterr().out) or name == "baseline"
    columns = ["id", "0", "1", "fold"]
    found = [pd.read_csv(tmp_path / data / "validation_predictions.csv")[columns] for data in ("noisy", "clean")]
    pd.testing.assert_frame_equal(*found)
    assert "URLs as http, mentions as @user." in (tmp_path / "noisy/README.md").read_text()
    if name == "baseline":
        return
    texts = ["fire &lt; @someone", "https://example.org storm"]
    loaded = [
        pipeline("text-classification", str(tmp_path / data / "folds/1/model"), top_k=None, trust_remote_code=False)
        for data in ("noisy", "clean")
    ]
    assert loaded[0](texts) == loaded[1](["fire < @user", "http storm"])
    recipe(name, tmp_path / "on", tmp_path / "noisy.csv", tmp_path / "noisy/folds/1/model", "--max_steps", "2")
    assert "Texts are read with HTML entities as" in in_a_line(capsys.readouterr().out)


def test_a_run_in_windows_is_gone_on_from_in_windows_or_it_is_said(tweets, tiny_bert, tmp_path, capsys):
    recipe("stock", tmp_path / "first", tweets, tiny_bert, *WINDOWS, "--max_steps", "2")
    capsys.readouterr()
    recipe("stock", tmp_path / "second", tweets, tmp_path / "first", *WINDOWS, "--max_steps", "2")
    assert "was trained with" not in in_a_line(capsys.readouterr().out)
    for name in ("custom", "stock"):
        recipe(name, tmp_path / "plain", tweets, tmp_path / "first", "--max_steps", "2", "--overwrite")
        said = in_a_line(capsys.readouterr().out)
        assert f"--model {tmp_path}/first was trained with --long_texts windows --stride 2" in said
    assert "reading" in json.loads((tmp_path / "second/model/config.json").read_text())
    assert "reading" not in json.loads((tmp_path / "plain/model/config.json").read_text())
