"""Each way to read a long text is run once on each data set, and the table sets it beside the head."""

import json
import runpy
import shutil

import numpy as np
import pytest
from support.paths import ROOT

from bert_recipes.config.reading import LONG_TEXTS
from bert_recipes.reporting.documents import between_marks


@pytest.fixture
def script():
    return runpy.run_path(str(ROOT / "benchmarks/long_texts.py"))


def cells(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def measured(script, right, seconds):
    labels = np.tile([0, 1], 50)
    predictions = np.where(np.arange(100) < right, labels, 1 - labels)
    return script["Measured"](labels, predictions, {"train": {"train_runtime": seconds, "peak_memory_mib": 1536.0}})


def test_the_table_by_hand(script):
    runs = {"head": measured(script, 80, 20.4), "windows": measured(script, 90, 99.6)}
    header, _, head, windows = cells(script["table"]({"bbc_news": runs}))
    assert header == list(script["HEADER"])
    low, high = (float(number) for number in head.pop(4).split(" to "))
    assert low == pytest.approx(0.8 - 1.96 * 0.04, abs=0.01)
    assert high == pytest.approx(0.8 + 1.96 * 0.04, abs=0.01)
    assert head == ["bbc_news", "`head`", "100", "0.8000", "", "", "20 s", "1.5 GiB"]
    low, high = (float(number) for number in windows.pop(6).split(" to "))
    # Ten rows of a hundred are right that were wrong, and none the other way round.
    assert 4 <= low < 10 < high <= 16
    del windows[4]
    assert windows == ["bbc_news", "`windows`", "100", "0.9000", "+10.0", "100 s", "1.5 GiB"]


@pytest.mark.parametrize("suffix", ["", ".ko"])
def test_the_documents_table_has_every_way_on_both_data_sets(suffix, script):
    header, _, *lines = cells(between_marks(ROOT / f"docs/customising{suffix}.md", "long-texts"))
    assert header == list(script["HEADER"])
    assert [line[:2] for line in lines] == [[c, f"`{m}`"] for c in script["CONFIGS"] for m in LONG_TEXTS]


@pytest.mark.slow
def test_a_run_is_made_once_and_scored_on_rows_that_chose_nothing(script, competition, tiny_bert, tmp_path):
    flags = ["--dataset", str(competition), "--model", str(tiny_bert), "--max_steps", "1", "--bf16", "false"]
    flags += ["--max_length", "8"]
    run = script["make_run"]("bbc_news", "windows", tmp_path, flags)
    assert run == tmp_path / "bbc_news-windows"
    assert not (run / "model").exists()
    written = (run / "run.yaml").read_text()
    assert "long_texts: windows" in written
    assert "load_best_model_at_end: false" in written
    # The thirty rows of test have no labels, so the half of train that is validated on scores.
    found = script["Measured"].of(run)
    assert len(found.labels) == len(found.predictions) == 50
    metrics = json.loads((run / "metrics.json").read_text())
    assert np.mean(found.labels == found.predictions) == pytest.approx(metrics["validation"]["accuracy"])
    (run / "metrics.json").write_text(json.dumps(metrics | {"train": {"train_runtime": 7}}))
    assert script["make_run"]("bbc_news", "windows", tmp_path, flags) == run
    assert script["Measured"].of(run).metrics["train"] == {"train_runtime": 7}


@pytest.mark.slow
def test_rows_of_a_labelled_test_split_score(script, competition, tiny_bert, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for split in ("train", "test"):
        shutil.copy(competition / "train.csv", data / f"{split}.csv")
    flags = [
        "--dataset",
        str(data),
        "--model",
        str(tiny_bert),
        "--max_steps",
        "1",
        "--bf16",
        "false",
        "--labels",
        "1",
        "0",
    ]
    run = script["make_run"]("quickstart", "tail", tmp_path, [*flags, "--max_length", "8"])
    found = script["Measured"].of(run)
    assert len(found.labels) == 100
    test = json.loads((run / "metrics.json").read_text())["test"]
    assert np.mean(found.labels == found.predictions) == pytest.approx(test["accuracy"])
