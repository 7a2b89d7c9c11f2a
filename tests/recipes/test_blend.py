"""recipes/blend.py: the folder that it writes, what it predicts, and what it refuses."""

import csv
import dataclasses
import html
import json
import shutil
from threading import Thread

import numpy as np
import pandas as pd
import pytest
import yaml
from support.paths import RECIPES
from support.rows import WORDS, write_csv
from support.scripts import in_a_line, predictions, recipe, run_script

import bert_recipes as br
from bert_recipes.errors import UserError
from bert_recipes.evaluation.calibration import best_threshold
from bert_recipes.evaluation.prediction_files import Predictions
from bert_recipes.inference.loading import load_predictor
from bert_recipes.inference.rows import TextRow
from bert_recipes.modeling.pretrained import members_of
from bert_recipes.owned_folder import OwnedFolder
from bert_recipes.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL


def blend(*arguments):
    run_script(RECIPES / "blend.py", *arguments, "--debug")


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def columns(rows, *names):
    return np.array([[float(row[name]) for name in names] for row in rows])


def configuration(folder):
    return yaml.safe_load((folder / "run.yaml").read_text())


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def err_on_different_rows(runs, label_names, problem_type):
    """Let the out-of-fold predictions of runs know half of the truth each, since tiny models know nothing of it."""
    rng = np.random.default_rng(0)
    for run in runs:
        rows = Predictions.read(run, label_names, problem_type)
        truth = rows.labels if rows.labels.ndim == 2 else np.eye(len(label_names))[rows.labels]
        found = truth + rng.normal(size=truth.shape) * (1 if problem_type == REGRESSION else 0.8)
        if problem_type != REGRESSION:
            found = 1 / (1 + np.exp(-3 * (found - 0.5)))
        if problem_type == SINGLE_LABEL:
            found /= found.sum(axis=1, keepdims=True)
        dataclasses.replace(rows, probabilities=found).write(run)


@pytest.fixture(scope="module")
def members(competition, tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    recipe("stock", folder / "stock", competition, tiny_bert, "--folds", "3")
    recipe("baseline", folder / "baseline", competition, tiny_bert, "--folds", "3")
    err_on_different_rows([folder / "stock", folder / "baseline"], ["0", "1"], SINGLE_LABEL)
    return folder / "stock", folder / "baseline"


@pytest.fixture(scope="module")
def blended(members, tmp_path_factory):
    folder = tmp_path_factory.mktemp("blends") / "both"
    blend(*members, "--output_dir", folder, "--decision", "threshold")
    return folder


def test_the_folder_is_that_of_a_run_with_folds(blended, members, competition):
    assert {path.name for path in blended.iterdir()} == {
        *("run.yaml", "metrics.json", "predictions.csv", "submission.csv", "validation_predictions.csv"),
        *("report.html", "plots"),
    }
    made, found = configuration(blended), metrics(blended)
    assert (made["recipe"], made["runs"]) == ("blend", [str(member) for member in members])
    assert sum(made["weights"]) == pytest.approx(1)
    assert min(made["weights"]) > 0.2
    single = metrics(members[0])
    assert set(found) == {*single, "blend"}
    assert set(found["validation"]) == set(single["validation"])
    assert found["environment"]["data"] == single["environment"]["data"]
    assert len(found["folds"]) == 3
    pooled = rows_of(blended / "validation_predictions.csv")
    assert [(row["id"], row["text"], row["fold"]) for row in pooled] == [
        (row["id"], row["text"], row["fold"]) for row in rows_of(members[0] / "validation_predictions.csv")
    ]
    assert found["validation"]["accuracy"] == np.mean([row["label"] == row["prediction"] for row in pooled])


def test_each_fold_is_predicted_by_weights_of_the_others(blended, members):
    of_members = [columns(rows_of(run / "validation_predictions.csv"), "0", "1") for run in members]
    rows = rows_of(blended / "validation_predictions.csv")
    without = np.array([run["weights_without_each_fold"] for run in metrics(blended)["blend"]["runs"]])
    assert len({tuple(weights) for weights in without.T}) == 3
    for fold in range(3):
        inside = np.array([row["fold"] == str(fold + 1) for row in rows])
        expected = np.average(of_members, axis=0, weights=without[:, fold])
        np.testing.assert_allclose(columns(rows, "0", "1")[inside], expected[inside], atol=1e-7)


@pytest.mark.slow
def test_of_many_folds_the_tenth_comes_after_the_ninth(competition, tiny_bert, tmp_path):
    runs = [tmp_path / "a", tmp_path / "b"]
    recipe("baseline", runs[0], competition, tiny_bert, "--folds", "11")
    shutil.copytree(*runs)
    err_on_different_rows(runs, ["0", "1"], SINGLE_LABEL)
    blend(*runs, "--output_dir", tmp_path / "blend")
    rows, found = rows_of(tmp_path / "blend/validation_predictions.csv"), metrics(tmp_path / "blend")
    inside = [i for i, row in enumerate(rows) if row["fold"] == "10"]
    weights = [run["weights_without_each_fold"][9] for run in found["blend"]["runs"]]
    of_runs = [columns(rows_of(run / "validation_predictions.csv"), "1") for run in runs]
    np.testing.assert_allclose(
        columns(rows, "1")[inside], np.average(of_runs, axis=0, weights=weights)[inside], atol=1e-7
    )
    right = [rows[i]["label"] == rows[i]["prediction"] for i in inside]
    assert found["folds"][9]["accuracy"] == np.mean(right)
    lines = (runs[0] / "validation_predictions.csv").read_text().splitlines()
    for run in runs:
        (run / "validation_predictions.csv").write_text("\n".join([lines[0], lines[1] + "x", *lines[2:]]) + "\n")
    with pytest.raises(UserError, match=r"validation_predictions.csv is damaged .*: run it again"):
        blend(*runs, "--output_dir", tmp_path / "again")


def test_test_rows_are_predicted_by_the_weights_of_all_rows(blended, members, competition):
    weights = configuration(blended)["weights"]
    expected = np.average([columns(predictions(run), "0", "1") for run in members], axis=0, weights=weights)
    np.testing.assert_allclose(columns(predictions(blended), "0", "1"), expected, atol=1e-7)
    rows = [rows_of(run / "validation_predictions.csv") for run in members]
    mixed = np.average([columns(of_run, "1")[:, 0] for of_run in rows], axis=0, weights=weights)
    threshold = best_threshold(np.array([int(row["label"]) for row in rows[0]]), mixed)
    assert metrics(blended)["validation"]["threshold"] == pytest.approx(threshold)
    submitted = rows_of(blended / "submission.csv")
    assert [row["id"] for row in submitted] == [row["id"] for row in rows_of(competition / "sample_submission.csv")]
    decided = {row["id"]: str(int(float(row["1"]) >= threshold)) for row in predictions(blended)}
    assert {row["id"]: row["target"] for row in submitted} == decided


def test_the_verdict_is_on_the_best_run_alone(blended, members, tmp_path):
    found = metrics(blended)["blend"]
    alone = {run["name"]: run["scores"]["F1"] for run in found["runs"]}
    assert found["best"] == max(alone, key=alone.get)
    best = next(run for run in members if run.name == found["best"])
    assert alone[best.name] == pytest.approx(_f1(rows_of(best / "validation_predictions.csv")))
    comparison = br.compare(blended, best, output_dir=tmp_path / "compared")
    assert comparison.verdicts[0].sentences == found["verdict"]
    page = html.unescape((blended / "report.html").read_text())
    assert found["verdict"]["F1"] in page
    assert f"<td>{members[0]}</td><td>{found['runs'][0]['weight']:.3f}</td>" in page
    assert f"python -m bert_recipes.recipes.blend {members[0]} {members[1]} --decision threshold" in page


def _f1(rows):
    both = sum(row["label"] == row["prediction"] == "1" for row in rows)
    return 2 * both / sum((row["label"] == "1") + (row["prediction"] == "1") for row in rows)


def test_what_is_said(members, tmp_path, capsys):
    blend(*members, "--output_dir", tmp_path / "blend")
    said = in_a_line(capsys.readouterr().out)
    found = metrics(tmp_path / "blend")["blend"]
    assert f"stock: weight {found['runs'][0]['weight']:.3f} (" in said
    assert all(sentence in said for sentence in found["verdict"].values())
    assert "submission.csv holds a label for each row" in said
    assert "baseline saves no model: to predict new texts it is fitted again to its data" in said


def test_new_texts_are_predicted_as_the_test_rows_were(blended, members, competition, tmp_path, capsys):
    flags = ("--input", competition / "test.csv", "--output", tmp_path / "out.csv", "--bf16", "false", "--debug")
    run_script(RECIPES / "predict.py", "--model", blended, *flags)
    said = capsys.readouterr()
    assert said.out == ""
    assert "is a blend: the weighted mean of what its runs predict is taken" in said.err
    assert f"{members[1]} saves no model: it is fitted again to its data." in said.err
    written, expected = rows_of(tmp_path / "out.csv"), predictions(blended)
    assert [(row["id"], row["prediction"]) for row in written] == [(row["id"], row["prediction"]) for row in expected]
    np.testing.assert_allclose(columns(written, "0", "1"), columns(expected, "0", "1"), atol=1e-6)
    # And not as one of its runs does.
    run_script(RECIPES / "predict.py", "--model", members[0], *flags)
    assert not np.allclose(columns(rows_of(tmp_path / "out.csv"), "1"), columns(expected, "1"), atol=1e-4)


def test_from_python_it_predicts_in_chunks(blended, competition, monkeypatch):
    monkeypatch.setattr("bert_recipes.inference.batches.CHUNK_ROWS", 7)
    frame = pd.read_csv(competition / "test.csv", keep_default_na=False)
    run = br.load(blended)
    assert repr(run).startswith(f"<blend run in {blended}: validation: accuracy ")
    np.testing.assert_allclose(run.predict(frame)["1"], columns(predictions(blended), "1")[:, 0], atol=0.02)


def test_its_runs_are_found_from_elsewhere_and_missed_in_a_sentence(members, tmp_path, monkeypatch):
    for member in members:
        shutil.copytree(member, tmp_path / "runs" / member.name)
    monkeypatch.chdir(tmp_path)
    blend("runs/stock", "runs/baseline")
    assert configuration(tmp_path / "runs/blend")["runs"] == ["runs/stock", "runs/baseline"]
    assert len(load_predictor("runs/blend").parts) == 2
    monkeypatch.chdir("/")
    assert len(load_predictor(str(tmp_path / "runs/blend")).parts) == 2
    shutil.rmtree(tmp_path / "runs/stock")
    with pytest.raises(UserError, match="is a blend of runs/stock, which is there neither from the working directory"):
        load_predictor(str(tmp_path / "runs/blend"))


def test_another_run_of_that_name_in_the_working_directory_is_not_taken(members, others, tmp_path, monkeypatch):
    for folder, baseline in ((tmp_path / "mine", members[1]), (tmp_path / "elsewhere", others / "other_data")):
        shutil.copytree(members[0], folder / "runs/stock")
        shutil.copytree(baseline, folder / "runs/baseline")
    monkeypatch.chdir(tmp_path / "mine")
    blend("runs/stock", "runs/baseline")
    monkeypatch.chdir(tmp_path / "elsewhere")
    folders = [folder for folder, _ in members_of(str(tmp_path / "mine/runs/blend"))]
    assert [folder.resolve() for folder in folders] == [
        (tmp_path / "elsewhere/runs/stock").resolve(),  # of the same rows
        (tmp_path / "mine/runs/baseline").resolve(),
    ]
    shutil.rmtree(tmp_path / "mine/runs/baseline")
    with pytest.raises(UserError, match=r"is a blend of runs/baseline, and runs/baseline was trained on other rows"):
        members_of(str(tmp_path / "mine/runs/blend"))


def test_data_that_was_named_from_a_folder_above_is_found_from_elsewhere(
    competition, tiny_bert, tmp_path, monkeypatch
):
    shutil.copytree(competition, tmp_path / "my data")
    write_csv(tmp_path / "mine.csv", [["id", "label"], ["0", 0]])
    monkeypatch.chdir(tmp_path)
    flags = ("--folds", "2", "--corrections", "mine.csv")
    for seed in "12":
        recipe("baseline", f"runs/{seed}", "my data", tiny_bert, *flags, "--seed", seed)
    blend("runs/1", "runs/2")
    ((_, expected),) = load_predictor("runs/blend").probabilities([TextRow("", "fire")])
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    ((_, found),) = load_predictor(str(tmp_path / "runs/blend")).probabilities([TextRow("", "fire")])
    np.testing.assert_array_equal(found, expected)
    blend(tmp_path / "runs/1", tmp_path / "runs/2", "--output_dir", "again")
    (tmp_path / "my data").rename(tmp_path / "gone")
    with pytest.raises(UserError, match=r"the data of .* cannot be read again: --dataset my data: no such file"):
        load_predictor(str(tmp_path / "runs/blend"))


def test_a_run_without_a_weight_is_not_needed(blended, members, tmp_path):
    copy = tmp_path / "blend"
    shutil.copytree(blended, copy)
    made = configuration(copy) | {"runs": [str(members[0]), "gone"], "weights": [1.0, 0.0]}
    (copy / "run.yaml").write_text(yaml.safe_dump(made))
    ((_, found),) = load_predictor(str(copy), bf16=False).probabilities([TextRow("", "fire")])
    ((_, expected),) = load_predictor(str(members[0]), bf16=False).probabilities([TextRow("", "fire")])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("weights", [None, [1.0], ["much", 0.0], [0.5, 0.4]])
def test_damaged_weights_are_a_sentence(weights, blended, tmp_path):
    copy = tmp_path / "blend"
    shutil.copytree(blended, copy)
    (copy / "run.yaml").write_text(yaml.safe_dump(configuration(copy) | {"weights": weights}))
    with pytest.raises(UserError, match=r"run.yaml is damaged .*: make the blend again"):
        load_predictor(str(copy))


@pytest.mark.parametrize(
    ("problem_type", "names", "cells"),
    [
        (SINGLE_LABEL, ["a", "b", "c"], lambda i: ["abc"[i % 3]]),
        (MULTI_LABEL, ["a", "b", "c"], lambda i: ["|".join("abc"[j] for j in range(3) if (i % 7 + 1) >> j & 1)]),
        (REGRESSION, ["label"], lambda i: [i % 11 / 3]),
    ],
)
def test_other_tasks(problem_type, names, cells, tiny_bert, tmp_path):
    texts = [f"{WORDS[i % 13]} {WORDS[(i * 5) % 13]} number {i}" for i in range(70)]
    write_csv(tmp_path / "train.csv", [["text", "label"], *([t, *cells(i)] for i, t in enumerate(texts[:60]))])
    write_csv(tmp_path / "test.csv", [["text"], *([t] for t in texts[60:])])
    runs = [tmp_path / "a", tmp_path / "b"]
    for name, run in zip(("stock", "baseline"), runs, strict=True):
        recipe(name, run, tmp_path, tiny_bert, "--folds", "2")
    err_on_different_rows(runs, names, problem_type)
    blend(*runs, "--output_dir", tmp_path / "blend")
    weights = configuration(tmp_path / "blend")["weights"]
    assert min(weights) > 0.1
    shown = ["prediction"] if problem_type == REGRESSION else names
    expected = np.average([columns(predictions(run), *shown) for run in runs], axis=0, weights=weights)
    np.testing.assert_allclose(columns(predictions(tmp_path / "blend"), *shown), expected, rtol=1e-6, atol=1e-6)
    found = metrics(tmp_path / "blend")
    score = "r2" if problem_type == REGRESSION else "f1"
    assert found["validation"][score] > max(
        run["scores"]["R²" if problem_type == REGRESSION else "F1"] for run in found["blend"]["runs"]
    )
    rows = [TextRow("", text) for text in texts[60:]]
    ((_, new),) = load_predictor(str(tmp_path / "blend"), bf16=False).probabilities(rows)
    np.testing.assert_allclose(new, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_labelled_test_split_is_scored(tiny_bert, tmp_path):
    rows = [[f"{WORDS[i % 13]} number {i}", i % 2] for i in range(60)]
    write_csv(tmp_path / "train.csv", [["text", "label"], *rows[:40]])
    write_csv(tmp_path / "test.csv", [["text", "label"], *rows[40:]])
    for name in ("stock", "baseline"):
        recipe(name, tmp_path / name, tmp_path, tiny_bert, "--folds", "2")
    blend(tmp_path / "stock", tmp_path / "baseline", "--output_dir", tmp_path / "blend")
    found = metrics(tmp_path / "blend")["test"]
    predicted = [int(row["prediction"]) for row in predictions(tmp_path / "blend")]
    assert found["accuracy"] == np.mean(np.array(predicted) == [label for _, label in rows[40:]])
    assert set(found) == set(metrics(tmp_path / "stock")["test"]) - {"loss"}


def test_another_blend_there_is_not_replaced_unasked(blended, members, tmp_path):
    shutil.copytree(blended, tmp_path / "blend")
    with pytest.raises(UserError, match="holds a finished run: name another --output_dir, or replace it"):
        blend(*members, "--output_dir", tmp_path / "blend", "--decision", "threshold")
    with pytest.raises(UserError, match=r"of another configuration .decision is threshold there and argmax here"):
        blend(*members, "--output_dir", tmp_path / "blend")
    blend(*members, "--output_dir", tmp_path / "blend", "--overwrite")
    assert configuration(tmp_path / "blend")["decision"] == "argmax"
    assert {path.name for path in (tmp_path / "blend").iterdir()} == {path.name for path in blended.iterdir()}


def test_what_was_interrupted_is_made_by_the_same_command(blended, members, tmp_path, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bert_recipes.runs.blend.draw_report", stop)
        with pytest.raises(KeyboardInterrupt):
            blend(*members, "--output_dir", tmp_path / "blend")
    assert not (tmp_path / "blend/metrics.json").exists()
    with pytest.raises(UserError, match="is a blend that is not finished: give the command again"):
        load_predictor(str(tmp_path / "blend"))
    blend(*members, "--output_dir", tmp_path / "blend")
    assert (tmp_path / "blend/predictions.csv").read_text() != ""
    assert metrics(tmp_path / "blend")["blend"] == metrics(blended)["blend"] | {
        "verdict": {
            title: sentence.replace("both", "blend")
            for title, sentence in metrics(blended)["blend"]["verdict"].items()
        }
    }


def test_a_run_in_a_blend_is_not_overwritten_by_it(members):
    before = (members[0] / "metrics.json").read_bytes()
    with pytest.raises(UserError, match="which is in use: name another --output_dir"):
        blend(*members, "--output_dir", members[0], "--overwrite")
    assert (members[0] / "metrics.json").read_bytes() == before


def test_training_does_not_begin_from_a_blend(blended, competition, tmp_path):
    with pytest.raises(UserError, match="is a blend of runs: name one of these"):
        recipe("stock", tmp_path / "run", competition, blended)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def others(members, competition, tiny_bert, tmp_path_factory):
    """Runs that a blend with the first of the members refuses, by what is wrong with them."""
    folder = tmp_path_factory.mktemp("others")
    recipe("baseline", folder / "no_folds", competition, tiny_bert)
    recipe("baseline", folder / "other_folds", competition, tiny_bert, "--folds", "4")
    recipe("baseline", folder / "other_cut", competition, tiny_bert, "--folds", "3", "--split_seed", "1")
    shutil.copytree(competition, folder / "data")
    for name, change in (("other_data", ("fire", "flood")), ("other_labels", None)):
        rows = rows_of(competition / "train.csv")
        for row in rows:
            row["text" if change else "target"] = (
                row["text"].replace(*change) if change else ["no", "yes"][int(row["target"])]
            )
        write_csv(folder / "data/train.csv", [list(rows[0]), *(list(row.values()) for row in rows)])
        recipe("baseline", folder / name, folder / "data", tiny_bert, "--folds", "3", "--submission", "probabilities")
    return folder


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no_folds", "is no run with folds, and a blend learns from out-of-fold predictions: run it with --folds"),
        (
            "other_folds",
            "cannot be blended: the rows of their validation_predictions.csv or the folds of these differ",
        ),
        ("other_cut", "cannot be blended: the rows of their validation_predictions.csv or the folds of these differ"),
        ("other_data", "cannot be blended: their train rows differ in ids, texts or labels; take the same --dataset"),
        ("other_labels", "cannot be blended: their labels differ, 0, 1 and no, yes"),
        ("data", "is no run: it has no run.yaml"),
        ("nowhere", "is no run's folder: a blend is made of finished runs"),
    ],
)
def test_a_run_that_does_not_fit_is_a_sentence(name, sentence, members, others, tmp_path):
    with pytest.raises(UserError, match=sentence):
        blend(members[0], others / name, "--output_dir", tmp_path / "blend")
    assert not (tmp_path / "blend").exists()


def test_runs_of_other_labels_are_blended_with_each_other_alone(members, competition, tiny_bert, tmp_path, capsys):
    for name, rows in (("few", [["0", 0]]), ("more", [["0", 0], ["10", 1], ["20", 1]])):
        write_csv(tmp_path / f"{name}.csv", [["id", "label"], *rows])
    runs = {
        name: ("--corrections", tmp_path / f"{file}.csv", "--seed", seed)
        for name, file, seed in (("few", "few", "1"), ("more", "more", "1"), ("again", "more", "2"))
    }
    for name, flags in runs.items():
        recipe("baseline", tmp_path / name, competition, tiny_bert, "--folds", "3", *flags)
    pairs = [(members[1], "few"), ("few", members[1]), ("few", "more")]
    for pair in pairs:
        with pytest.raises(UserError, match=r"cannot be blended: their train rows differ .*, --corrections and"):
            blend(*(tmp_path / run for run in pair), "--output_dir", tmp_path / "blend")
    assert not (tmp_path / "blend").exists()
    blend(tmp_path / "more", tmp_path / "again", "--output_dir", tmp_path / "blend")
    capsys.readouterr()
    run_script(RECIPES / "compare.py", tmp_path / "blend", members[1], "--output_dir", tmp_path / "compared")
    assert "On the 3 whose labels differ, blend has accuracy" in in_a_line(capsys.readouterr().out)


def test_one_run_a_run_twice_and_a_blend_are_no_blend(members, blended, tmp_path, capsys):
    for runs, sentence in (
        ([members[0]], "alone is no blend: name two runs or more"),
        ([members[0], members[1] / ".." / "stock"], "is named twice"),
        ([members[0], blended], "is a blend itself: name the runs that it is made of"),
    ):
        with pytest.raises(UserError, match=sentence):
            blend(*runs, "--output_dir", tmp_path / "blend")
    assert not (tmp_path / "blend").exists()
    with pytest.raises(SystemExit) as ended:
        run_script(RECIPES / "blend.py", members[0], "--output_dir", tmp_path / "blend")
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: a blend of {members[0]} alone is no blend: name two runs or more.\n"


def test_damaged_members_and_data_that_changed_are_a_sentence(members, competition, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(members[0], copy)
    lines = (copy / "predictions.csv").read_text().splitlines()
    for damage, sentence in ((lines[:-1], "has 29 rows, and test has 30"), (["id,0", "1"], "is damaged")):
        (copy / "predictions.csv").write_text("\n".join(damage))
        with pytest.raises(UserError, match=sentence):
            blend(members[1], copy, "--output_dir", tmp_path / "blend")
    (copy / "metrics.json").unlink()
    with pytest.raises(UserError, match="copy is a run that is not finished: finish it by"):
        blend(members[1], copy, "--output_dir", tmp_path / "blend")
    other = tmp_path / "data"
    shutil.copytree(competition, other)
    (other / "train.csv").write_text((other / "train.csv").read_text().replace("fire", "fires"))
    for dataset, sentence in (
        (str(other), "are not what they were, in the rows of train: give back the files of then"),
        (str(tmp_path / "gone"), r"the data of .*moved cannot be read again: "),
        ("python:DataFrame", r"was trained on rows given from Python .python:DataFrame., which cannot be read again"),
    ):
        shutil.copytree(members[1], tmp_path / "moved", dirs_exist_ok=True)
        made = configuration(members[1]) | {"dataset": [dataset]}
        (tmp_path / "moved/run.yaml").write_text(yaml.safe_dump(made))
        with pytest.raises(UserError, match=sentence):
            blend(tmp_path / "moved", members[0], "--output_dir", tmp_path / "blend")
    assert not (tmp_path / "blend").exists()


def test_a_folder_in_use_is_left_alone(members, tmp_path):
    folder = tmp_path / "blend"
    folder.mkdir()
    held = OwnedFolder(folder, "run", ("run.yaml",))
    held.hold()
    said = []

    def start():
        try:
            blend(*members, "--output_dir", folder)
        except UserError as error:
            said.append(str(error))

    thread = Thread(target=start)
    thread.start()
    thread.join()
    held.release()
    assert "is in use by process" in said[0]
    assert not any(folder.iterdir())
