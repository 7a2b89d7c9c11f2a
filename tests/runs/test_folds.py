"""A run for each fold, pooled: out-of-fold predictions, the folds' mean, and where it resumes."""

import csv
import json
import shlex
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from support.paths import RECIPES
from support.rows import WORDS, write_csv
from support.scripts import predictions, recipe, run_script

import bert_recipes as br
from bert_recipes.errors import StoppedError, UserError
from bert_recipes.inference.loading import load_predictor
from bert_recipes.inference.rows import TextRow


@pytest.fixture(scope="module")
def folded(competition, tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("folds") / "run"
    recipe("custom", folder, competition, tiny_bert, "--folds", "3", "--decision", "threshold")
    return folder


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_every_training_row_has_an_out_of_fold_prediction(folded, competition):
    pooled = rows_of(folded / "validation_predictions.csv")
    assert [row["id"] for row in pooled] == [row["id"] for row in rows_of(competition / "train.csv")]
    parts = {}
    for fold in "123":
        for row in rows_of(folded / "folds" / fold / "validation_predictions.csv"):
            parts[row["id"]] = (fold, row["prediction"], row["0"])
    assert {row["id"]: (row["fold"], row["prediction"], row["0"]) for row in pooled} == parts
    metrics = json.loads((folded / "metrics.json").read_text())
    assert set(metrics) == {"train", "folds", "validation", "environment"}
    assert metrics["validation"]["accuracy"] == pytest.approx(
        np.mean([row["label"] == row["prediction"] for row in pooled])
    )
    assert len(metrics["folds"]) == 3


def test_test_probabilities_are_the_folds_mean(folded):
    parts = [[float(row["1"]) for row in predictions(folded / "folds" / fold)] for fold in "123"]
    pooled = predictions(folded)
    np.testing.assert_allclose([float(row["1"]) for row in pooled], np.mean(parts, axis=0), atol=1e-7)


def test_the_submission_is_decided_by_the_out_of_fold_threshold(folded):
    threshold = json.loads((folded / "metrics.json").read_text())["validation"]["threshold"]
    submitted = {row["id"]: row["target"] for row in rows_of(folded / "submission.csv")}
    for row in predictions(folded):
        assert row["prediction_at_threshold"] == submitted[row["id"]] == str(int(float(row["1"]) >= threshold))


def test_a_folded_run_is_whole(folded):
    names = {path.name for path in folded.iterdir()}
    assert names == {
        *("run.yaml", "metrics.json", "predictions.csv", "submission.csv", "validation_predictions.csv"),
        *("folds", "report.html", "plots", "README.md"),
    }
    assert not list(folded.glob("folds/*/checkpoints"))
    assert (folded / "folds/1/model/model.safetensors").is_file()
    assert "out-of-fold rows" in (folded / "report.html").read_text()
    assert yaml.safe_load((folded / "run.yaml").read_text())["folds"] == 3
    assert {"loss.svg", "score.svg"} <= {path.name for path in (folded / "plots").iterdir()}
    assert "chosen by its score on these rows" in (folded / "README.md").read_text()


def test_a_column_named_fold_is_not_taken_for_the_projects_own(tiny_bert, tmp_path):
    rows = [[WORDS[i % 13] + f" {i}", i % 2, "dev" if i % 3 else ""] for i in range(60)]
    write_csv(tmp_path / "train.csv", [["text", "target", "fold"], *rows])
    recipe("baseline", tmp_path / "run", tmp_path / "train.csv", tiny_bert)
    assert "out-of-fold" not in (tmp_path / "run/report.html").read_text()
    recipe("baseline", tmp_path / "folds", tmp_path / "train.csv", tiny_bert, "--folds", "2")
    assert {row["fold"] for row in rows_of(tmp_path / "folds/validation_predictions.csv")} == {"1", "2"}


def test_another_training_begins_from_a_fold_and_not_from_the_whole(folded, competition, tmp_path):
    with pytest.raises(UserError, match=r"a model for each fold: name one, as in .*run/folds/1"):
        recipe("stock", tmp_path / "next", competition, folded)
    recipe("stock", tmp_path / "next", competition, folded / "folds/1", "--max_steps", "1")


def test_the_folds_predict_the_test_texts_as_the_run_did(folded, competition, tmp_path, capsys):
    flags = ("--input", competition / "test.csv", "--output", tmp_path / "out.csv", "--bf16", "false", "--debug")
    run_script(RECIPES / "predict.py", "--model", folded, *flags)
    said = capsys.readouterr()
    assert said.out == ""
    assert "has a model for each of 3 folds: the mean of what they predict is taken." in said.err
    written, expected = rows_of(tmp_path / "out.csv"), predictions(folded)
    assert [(row["id"], row["prediction"]) for row in written] == [(row["id"], row["prediction"]) for row in expected]
    for label in "01":
        np.testing.assert_allclose(
            [float(row[label]) for row in written], [float(row[label]) for row in expected], atol=1e-6
        )
    run_script(RECIPES / "predict.py", "--model", folded / "folds/1", *flags)
    assert "--model" not in capsys.readouterr().err
    alone = [float(row["1"]) for row in rows_of(tmp_path / "out.csv")]
    np.testing.assert_allclose(alone, [float(row["1"]) for row in predictions(folded / "folds/1")], atol=1e-6)
    assert not np.allclose([float(row["1"]) for row in written], alone, atol=1e-4)


def test_from_python_the_run_predicts_likewise(folded, competition, monkeypatch):
    monkeypatch.setattr("bert_recipes.inference.batches.CHUNK_ROWS", 7)
    frame = pd.read_csv(competition / "test.csv", keep_default_na=False)
    found = br.load(folded).predict(frame)
    expected = [float(row["1"]) for row in predictions(folded)]
    np.testing.assert_allclose(found["1"], expected, atol=0.02)  # bfloat16 where it is native
    assert list(br.load(folded).predict([]).columns) == ["prediction", "0", "1"]


def test_of_a_regression_the_mean_of_the_values_is_predicted(tiny_bert, tmp_path):
    rows = [[f"{WORDS[i % 13]} {WORDS[i % 7]}", i / 7] for i in range(40)]
    write_csv(tmp_path / "train.csv", [["text", "target"], *rows])
    write_csv(tmp_path / "test.csv", [["text"], *[[row[0]] for row in rows[:9]]])
    flags = ("--folds", "2", "--train_file", str(tmp_path / "train.csv"), "--test_file", str(tmp_path / "test.csv"))
    recipe("stock", tmp_path / "run", tmp_path, tiny_bert, *flags)
    predictor = load_predictor(str(tmp_path / "run"), bf16=False)
    ((_, found),) = predictor.probabilities([TextRow("", row[0]) for row in rows[:9]])
    expected = [float(row["prediction"]) for row in predictions(tmp_path / "run")]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)
    of_one = [float(row["prediction"]) for row in predictions(tmp_path / "run/folds/1")]
    assert not np.allclose(expected, of_one, rtol=1e-4)


def test_unfinished_folds_predict_nothing(folded, tmp_path):
    (tmp_path / "run/folds").mkdir(parents=True)
    shutil.copy(folded / "run.yaml", tmp_path / "run")
    with pytest.raises(UserError, match=r"not all finished: name one that is, as in .*run/folds/1, or finish"):
        load_predictor(str(tmp_path / "run"))


def test_it_goes_on_fold_by_fold(folded, competition, tiny_bert, tmp_path, capsys, monkeypatch):
    from bert_recipes.runs.run import Run

    finish, finished = Run.finish, []

    def stop_in_the_third(run, trainer):
        if len(finished) == 2:
            raise StoppedError("stopped", 15)
        finished.append(run)
        finish(run, trainer)

    monkeypatch.setattr(Run, "finish", stop_in_the_third)
    flags = ("--folds", "3", "--decision", "threshold")
    with pytest.raises(StoppedError):
        recipe("custom", tmp_path / "run", competition, tiny_bert, *flags)
    monkeypatch.setattr(Run, "finish", finish)
    first = (tmp_path / "run/folds/1/metrics.json").stat().st_mtime_ns
    with pytest.raises(UserError, match="whose folds are not all finished") as unfinished:
        run_script(RECIPES / "predict.py", "--model", tmp_path / "run", "--input", competition / "test.csv", "--debug")
    _, script, *flags = shlex.split(str(unfinished.value).partition("finish it by ")[2])
    capsys.readouterr()
    run_script(script, *flags, "--debug")
    said = capsys.readouterr().out
    assert "Fold 2 of 3 is finished already." in said
    assert "Fold 3 of 3\n" in said
    assert (tmp_path / "run/folds/1/metrics.json").stat().st_mtime_ns == first
    for name in ("predictions.csv", "submission.csv", "validation_predictions.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (folded / name).read_bytes()


def test_a_finished_or_another_folded_run_is_not_touched(folded, competition, tiny_bert, tmp_path):
    with pytest.raises(UserError, match="holds a finished run"):
        recipe("custom", folded, competition, tiny_bert, "--folds", "3", "--decision", "threshold")
    with pytest.raises(UserError, match="folds is 3 there and 4 here"):
        recipe("custom", folded, competition, tiny_bert, "--folds", "4", "--decision", "threshold")


def test_overwrite_begins_all_folds_anew(folded, competition, tiny_bert, tmp_path, capsys):
    shutil.copytree(folded, tmp_path / "run")
    recipe("baseline", tmp_path / "run", competition, tiny_bert, "--folds", "2", "--overwrite")
    assert "is finished already" not in capsys.readouterr().out
    assert len(list((tmp_path / "run/folds").iterdir())) == 2


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--folds", "1"], "--folds 1: give 2 or more"),
        (["--folds", "101"], "take fewer folds"),
        (["--folds", "2", "--push_to_hub"], "there is one for each fold"),
    ],
)
def test_a_mistake_about_folds_writes_nothing(flags, sentence, competition, tiny_bert, tmp_path):
    with pytest.raises(UserError, match=sentence):
        recipe("stock", tmp_path / "run", competition, tiny_bert, *flags)
    assert not (tmp_path / "run").exists()
