"""Draws are balanced and keep out of what scores them; the table is by hand; what is there is not made again."""

import json

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file
from scipy import stats
from support.paths import ROOT
from support.rows import sentence

import bert_recipes as br
from benchmarks import few_rows
from bert_recipes.errors import UserError
from bert_recipes.reporting.documents import between_marks


@pytest.fixture(scope="module", params=few_rows.DATASETS)
def rows(request):
    return few_rows.Rows.of(request.param)


@pytest.fixture
def few():
    frame = pd.DataFrame({"text": [f"{sentence(i)} {i}" for i in range(60)], "label": ["no", "yes"] * 30})
    return few_rows.Rows("mine", frame[:40], frame[40:].reset_index(drop=True))


def cells(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_a_draw_has_as_many_rows_of_each_class_and_is_within_the_larger(rows):
    drawn = {size: rows.draw(size, 3) for size in few_rows.SIZES}
    for size, places in drawn.items():
        counts = rows.pool["label"].iloc[places].value_counts()
        assert set(counts) == {size}
        assert set(counts.index) == set(rows.test["label"])
        assert len(set(places)) == len(places)
        assert set(places) <= set(drawn[max(few_rows.SIZES)])
    assert rows.draw(8, 3) == drawn[8]
    assert len({tuple(sorted(rows.draw(8, draw))) for draw in range(few_rows.DRAWS)}) == few_rows.DRAWS


def test_no_text_that_scores_is_drawn_and_settings_are_chosen_on_other_rows(rows):
    choosing = few_rows.Rows.of(rows.name, choosing=True)
    assert rows.pool["text"].is_unique
    assert not set(rows.pool["text"]) & set(rows.test["text"])
    assert not set(choosing.test["text"]) & (set(rows.pool["text"]) | set(rows.test["text"]))
    pd.testing.assert_frame_equal(choosing.pool, rows.pool)
    assert len(rows.test) == len(choosing.test) == few_rows.HELD_OUT


def test_written_draws_are_the_draws(rows, tmp_path):
    written = json.loads(few_rows.write_draws(rows, [8, 16], [0, 5], tmp_path).read_text())
    assert [(one["size"], one["draw"]) for one in written["draws"]] == [(8, 0), (8, 5), (16, 0), (16, 5)]
    for one in written["draws"]:
        drawn = rows.pool.iloc[rows.draw(one["size"], one["draw"])]
        for name in ("text", "label"):
            assert [written["train"][name][row] for row in one["rows"]] == drawn[name].tolist()
    assert written["test"] == rows.test.to_dict("list")
    assert written["max_length"] == few_rows.MAX_LENGTH


def test_the_table_by_hand(tmp_path):
    own, other = [0.6, 0.7, 0.65], [0.6, 0.65, 0.6]
    for method, values, seconds in (("few_rows", own, 30), ("setfit", other, 80.4), ("baseline", [0.5], 2)):
        for draw, value in enumerate(values):
            found = {"accuracy": value, "macro_f1": value - 0.1, "seconds": seconds}
            few_rows.result_file(tmp_path, "mine", 8, draw, method).write_text(json.dumps(found))
    results = few_rows.read_results(tmp_path, "mine", 8, [0, 1, 2])
    header, _, accuracy, macro_f1, seconds = cells(few_rows.table({("mine", 8): results}, 3))
    assert header == list(few_rows.HEADER)
    low, high = stats.t.interval(0.95, 2, np.mean(own), stats.sem(own))
    of_setfit = stats.t.interval(0.95, 2, np.mean(other), stats.sem(other))
    apart = stats.t.interval(0.95, 2, 10 / 3, stats.sem([0, 5, 5]))
    assert accuracy == [
        *("mine", "8", "accuracy", "0.500 (1)", "", f"0.650 ± {(high - low) / 2:.3f}"),
        *(f"0.617 ± {(of_setfit[1] - of_setfit[0]) / 2:.3f}", f"+3.3 ± {(apart[1] - apart[0]) / 2:.1f}"),
    ]
    assert macro_f1[2:6] == ["macro F1", "0.400 (1)", "", f"0.550 ± {(high - low) / 2:.3f}"]
    assert seconds[2:] == ["seconds", "2", "", "30", "80", ""]


def test_draws_that_one_method_lacks_are_not_compared(tmp_path):
    for method, draws in (("few_rows", [0, 1, 2]), ("setfit", [1, 2])):
        for draw in draws:
            found = {"accuracy": [0.9, 0.6, 0.7][draw], "macro_f1": 0.5, "seconds": 1}
            found["accuracy"] -= 0.1 * (method == "setfit")
            few_rows.result_file(tmp_path, "mine", 8, draw, method).write_text(json.dumps(found))
    results = few_rows.read_results(tmp_path, "mine", 8, range(10))
    accuracy = cells(few_rows.table({("mine", 8): results}))[2]
    assert accuracy[5].endswith("(3)")
    assert accuracy[6:] == ["0.550 ± 0.635 (2)", "+10.0 ± 0.0 (2)"]


@pytest.mark.slow
def test_what_is_measured_is_the_model_that_few_rows_keeps(few, tiny_bert, tmp_path, monkeypatch):
    tiny = {"model": str(tiny_bert), "max_length": 16, "bf16": False, "max_steps": 2}
    runs = []
    train = br.train

    def train_tiny(recipe, **flags):
        run = train(recipe, **flags | tiny)
        runs.append((run.metrics, load_file(run.folder / "model/model.safetensors")))
        return run

    monkeypatch.setattr(br, "train", train_tiny)
    few_rows.measure(few, 8, 0, "few_rows", tmp_path)
    file = few_rows.result_file(tmp_path, "mine", 8, 0, "few_rows")
    result = json.loads(file.read_text())
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    few_rows.measure(few, 8, 0, "few_rows", tmp_path)
    assert json.loads(file.read_text()) == result
    (metrics, measured), *again = runs
    assert not again
    assert (result["accuracy"], result["macro_f1"]) == tuple(
        metrics["validation"][s] for s in ("accuracy", "f1_macro")
    )

    sixteen = few.pool.iloc[few.draw(8, 0)]
    config = ROOT / "recipes/configs/few_rows.yaml"
    kept = train("custom", config=config, dataset=sixteen, seed=0, output_dir=tmp_path / "kept", **tiny)
    assert len(pd.read_csv(kept.folder / "validation_predictions.csv")) == 16
    weights = load_file(kept.folder / "model/model.safetensors")
    assert weights.keys() == measured.keys()
    assert all(weights[name].equal(measured[name]) for name in weights)


def test_the_baseline_is_scored_by_its_predictions(few, tmp_path):
    few_rows.measure(few, 8, 0, "baseline", tmp_path)
    result = json.loads(few_rows.result_file(tmp_path, "mine", 8, 0, "baseline").read_text())
    assert (result["size"], result["draw"], result["method"]) == (8, 0, "baseline")
    assert result["accuracy"] * 20 == pytest.approx(round(result["accuracy"] * 20))


def test_setfit_is_asked_for_what_was_drawn(few, tmp_path, monkeypatch):
    asked = tmp_path / "asked"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$@" > {asked}\nexit 3\n')
    python.chmod(0o755)
    draws = few_rows.write_draws(few, [8], [0], tmp_path)
    with pytest.raises(UserError, match="SetFit ended with status 3"):
        few_rows.measure_setfit(python, draws, tmp_path / "out")
    assert f"setfit_draw.py --rows {draws} --model " in asked.read_text()


def test_settings_are_chosen_apart_from_what_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["few_rows", "--choosing", "--write_docs"])
    with pytest.raises(UserError, match="--write_docs is of the reported draws"):
        few_rows.main()
    own = ["--datasets", "fine-foods", "--sizes", "8", "--draws", "100", "--methods", "baseline"]
    monkeypatch.setattr("sys.argv", ["few_rows", "--choosing", *own, "--output_dir", str(tmp_path)])
    few_rows.main()
    assert [path.name for path in tmp_path.iterdir()] == ["choosing"]
    assert few_rows.result_file(tmp_path / "choosing", "fine-foods", 8, 100, "baseline").is_file()


@pytest.mark.parametrize("suffix", ["", ".ko"])
def test_the_documents_table_has_every_size_of_both_data_sets(suffix):
    header, _, *lines = cells(between_marks(ROOT / f"docs/customising{suffix}.md", "few-rows"))
    assert header == list(few_rows.HEADER)
    expected = [[name, str(size)] for name in few_rows.DATASETS for size in few_rows.SIZES for _ in range(3)]
    assert [line[:2] for line in lines] == expected
