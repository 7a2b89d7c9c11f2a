"""Changed labels are found by the rankings, which are scored by those that were changed."""

import runpy
import sys

import numpy as np
import pandas as pd
import pytest
from support.paths import ROOT


@pytest.fixture
def script(monkeypatch):
    monkeypatch.chdir(ROOT)
    return runpy.run_path(str(ROOT / "benchmarks/label_errors.py"))


@pytest.mark.parametrize("kind", ["random", "class"])
def test_so_many_labels_are_changed_and_no_others(script, kind):
    labels = np.array(["a", "b", "c", "d"] * 50)
    changed, which = script["change"](labels, 0.05, kind, 3)
    assert which.sum() == 10
    assert ((changed != labels) == which).all()
    assert len({*zip(labels[which], changed[which], strict=True)}) == 1 or kind == "random"
    assert set(changed) == set(labels)


def test_a_ranking_is_scored_by_the_changed_rows(script):
    changed = np.array([False, True, False, True, False, False])
    best = script["score"](np.array([0, 0.9, 0, 0.8, 0.1, 0.2]), changed)
    assert best == {"average precision": 1, "precision": 1, "recall": 1}
    half = script["score"](np.array([0.9, 0.8, 0.1, 0.2, 0.3, 0]), changed)
    assert half == {"average precision": pytest.approx((1 / 2 + 2 / 4) / 2), "precision": 0.5, "recall": 1}


def test_a_row_that_all_models_are_against_is_suspicious_by_every_ranking(script):
    labels = np.array([0, 0, 1, 1, 0, 1])
    right = np.where(labels[:, None] == np.arange(2), 0.9, 0.1)
    right[4] = [0.05, 0.95]
    found = script["rankings"](labels, [np.stack([right] * 4), right[None]])
    assert {ranking: int(suspicion.argmax()) for ranking, suspicion in found.items()} == {"audit": 4, "fitted once": 4}


def test_fitted_once_leaves_the_second_fit_of_the_baseline_out(script):
    labels = np.array([0, 1])
    first, second, recipe = ([[1 - p, p], [1 - q, q]] for p, q in ((0.2, 0.8), (0.6, 0.8), (0.4, 0.8)))
    found = script["rankings"](labels, [np.array([first, second]), np.array([recipe])])
    np.testing.assert_allclose(found["audit"], [(0.4 + 0.4) / 2, 0.2])
    np.testing.assert_allclose(found["fitted once"], [(0.2 + 0.4) / 2, 0.2])


def test_the_table_has_what_the_audit_and_cleanlab_find(script, monkeypatch, tmp_path, capsys):
    words = {"good": ["lovely", "tasty", "fresh"], "bad": ["stale", "bitter", "awful"]}
    rows = [(f"{words[label][i % 3]} {words[label][i % 2]} {i}", label) for i in range(40) for label in words]
    frame = pd.DataFrame(rows, columns=["text", "label"])
    # In a process of its own cleanlab needs to be installed, which it is not here: this stands for it.
    stand_in = tmp_path / "python"
    stand_in.write_text(
        f"#!{sys.executable}\nimport sys\nimport numpy as np\ngiven = np.load(sys.argv[2])\n"
        "rows = np.arange(len(given['labels']))\n"
        "np.savez(sys.argv[3], self_confidence=given['probabilities'][rows, given['labels']])\n"
    )
    stand_in.chmod(0o755)
    flags = ["--datasets", "fine-foods", "--shares", "0.05", "--draws", "1", "--output_dir", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["label_errors", *flags, "--cleanlab_python", str(stand_in)])
    monkeypatch.setitem(script["main"].__globals__, "rows_of", lambda name: frame)
    script["main"]()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| fine-foods")]
    assert [line.split(" | ")[1] for line in lines] == ["5%, at random", "5%, by class"]
    for line in lines:
        ours, once, theirs = line.split(" | ")[2:5]
        assert float(ours) > 0.5
        assert float(once) > 0.5
        assert float(ours) >= float(theirs)


def test_of_the_rows_that_were_read_those_are_wrong_that_both_readings_are_against(script, tmp_path, monkeypatch):
    readings = tmp_path / "readings.csv"
    readings.write_text("id,reader_1,reader_2\n5,0,0\n6,1,0\n8,1,1\n")
    monkeypatch.setattr("benchmarks.disputed.READINGS", readings)
    frame = pd.DataFrame({"id": ["5", "6", "7", "8"], "label": ["1", "0", "1", "1"]})
    is_read, is_disputed = script["read_rows"](frame)
    assert is_read.tolist() == [True, True, False, True]
    assert is_disputed.tolist() == [True, False, False, False]


def test_a_result_without_cleanlab_is_made_again_where_it_is_asked_for(script, tmp_path):
    file, is_measured = tmp_path / "case.json", script["is_measured"]
    assert not is_measured(file, False)
    file.write_text('{"audit": {"precision": 1.0}}')
    assert is_measured(file, False)
    assert not is_measured(file, True)
    file.write_text('{"audit": {"precision": 1.0}, "cleanlab normalized_margin": {"precision": 1.0}}')
    assert is_measured(file, True)
