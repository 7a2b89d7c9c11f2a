"""recipes/compare.py: the runs that it makes, reads and refuses, and what it says of them."""

import dataclasses
import json
import os
import re
import shutil

import numpy as np
import pytest
import yaml
from sklearn.metrics import f1_score
from support.paths import RECIPES
from support.scripts import recipe, run_script
from support.started import children_at_once

from bert_recipes.errors import UserError
from bert_recipes.evaluation.prediction_files import Predictions
from bert_recipes.runs.comparison import Compared, twin_of_stock


def compare(*arguments):
    with children_at_once():
        run_script(RECIPES / "compare.py", *arguments, "--debug")


@pytest.fixture(scope="module")
def config(competition, tiny_bert, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.yaml"
    values = {"dataset": str(competition), "model": str(tiny_bert), "max_length": 32, "bf16": False}
    path.write_text(yaml.safe_dump(values | {"num_train_epochs": 1, "learning_rate": 1e-3, "validation_size": 0.3}))
    return path


@pytest.fixture(scope="module")
def compared(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    own = config.with_name("mean.yaml")
    own.write_text("recipe: custom\npooling: mean\n")
    compare("baseline", own, "--config", config, "--seeds", 1, 2, "--jobs", 2, "--output_dir", folder)
    return folder, own


def scores(folder, name):
    rows = [
        Predictions.read(folder / f"{name}-seed-{seed}", ["0", "1"], "single_label_classification") for seed in (1, 2)
    ]
    return [f1_score(r.labels, r.predicted, zero_division=0.0) for r in rows]


def test_a_run_for_each_seed_and_a_verdict_for_each_pair(compared):
    folder, _ = compared
    found = json.loads((folder / "comparison.json").read_text())
    assert [(pair["a"], pair["b"]) for pair in found] == [("baseline", "mean")]
    difference = found[0]["differences"]["F1"]
    assert difference["a"] == pytest.approx(scores(folder, "baseline"))
    assert difference["b"] == pytest.approx(scores(folder, "mean"))
    assert difference["value"] == pytest.approx(np.mean(scores(folder, "baseline")) - np.mean(scores(folder, "mean")))
    assert re.search(r"^(baseline|mean) is better|^No visible difference", found[0]["verdict"]["F1"])
    made = yaml.safe_load((folder / "mean-seed-2/run.yaml").read_text())
    assert (made["pooling"], made["seed"], made["learning_rate"]) == ("mean", 2, 1e-3)


def test_the_page_has_the_verdicts_and_the_cost(compared):
    folder, _ = compared
    page = (folder / "report.html").read_text(encoding="utf-8")
    found = json.loads((folder / "comparison.json").read_text())
    headline, *statistics = re.split(r"(?<=\.) (?=With |95 %)", found[0]["verdict"]["F1"])
    assert f"<b>{headline}</b>" in page
    assert all(sentence in page for sentence in statistics)
    assert {path.name for path in (folder / "plots").glob("*.svg")} == {"seeds.svg", "differences.svg", "cost.svg"}
    assert "seconds to train" in page


def test_what_is_done_is_skipped_and_what_is_not_is_made(compared, config, tmp_path, capsys):
    folder, own = compared
    shutil.copytree(folder, tmp_path / "again")
    before = (tmp_path / "again/mean-seed-1/metrics.json").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "again/baseline-seed-2")
    compare("baseline", own, "--config", config, "--seeds", 1, 2, "--output_dir", tmp_path / "again")
    assert "4 runs, of which 3 are finished already." in capsys.readouterr().out
    assert (tmp_path / "again/mean-seed-1/metrics.json").stat().st_mtime_ns == before
    for name in ("comparison.json", "baseline-seed-2/predictions.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_runs_of_another_configuration_are_an_error(compared, config):
    folder, own = compared
    with pytest.raises(
        UserError,
        match=r"holds runs of baseline with another configuration \(flags is none there and --learning_rate 1 here\)",
    ):
        compare("baseline", own, "--config", config, "--output_dir", folder, "--learning_rate", "1")


@pytest.mark.slow
def test_what_made_no_run_binds_nobody(config, tmp_path):
    command = ("baseline", "stock", "--config", config, "--seeds", 1, "--output_dir", tmp_path)
    with pytest.raises(UserError, match="there is no flag --validation_siz"):
        compare(*command, "--validation_siz", "0.4")
    compare(*command, "--validation_size", "0.4")
    assert (tmp_path / "stock-seed-1/metrics.json").is_file()


@pytest.mark.slow
def test_a_configuration_that_names_a_recipe_is_that_of_all(config, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text(config.read_text() + "recipe: custom\npooling: mean\n")
    compare("baseline", own, "--config", own, "--seeds", 1, "--output_dir", tmp_path / "out")
    recipes = [
        yaml.safe_load((tmp_path / f"out/{name}-seed-1/run.yaml").read_text())["recipe"]
        for name in ("baseline", "own")
    ]
    assert recipes == ["baseline", "custom"]


def test_finished_runs_are_grouped_by_what_differs_beside_the_seed(compared, tmp_path, capsys):
    folder, _ = compared
    runs = sorted(path for path in folder.iterdir() if path.is_dir() and "seed" in path.name)
    compare(*runs, "--output_dir", tmp_path / "out")
    assert (tmp_path / "out/comparison.json").read_bytes() == (folder / "comparison.json").read_bytes()
    with pytest.raises(UserError, match="holds a comparison of recipes, whose report would be lost"):
        compare(*runs, "--output_dir", folder)
    with pytest.raises(UserError, match="differ in their seeds alone"):
        compare(*runs[:2], "--output_dir", tmp_path / "out")


def test_runs_from_before_a_key_was_there_are_grouped_with_those_of_today(compared, tmp_path):
    folder, _ = compared
    for name in ("baseline-seed-1", "mean-seed-1", "mean-seed-2"):
        shutil.copytree(folder / name, tmp_path / name)
    run = yaml.safe_load((tmp_path / "mean-seed-1/run.yaml").read_text())
    new = ("refit", "stride", "max_windows", "long_texts", "classifier", "extra_columns")
    (tmp_path / "mean-seed-1/run.yaml").write_text(yaml.safe_dump({k: v for k, v in run.items() if k not in new}))
    with pytest.raises(UserError, match="differ in their seeds alone"):
        compare(tmp_path / "mean-seed-1", tmp_path / "mean-seed-2", "--output_dir", tmp_path / "out")


def test_what_a_file_brings_itself_is_not_taken_from_the_one_below_it(tmp_path):
    below = tmp_path / "below.yaml"
    below.write_text("dataset: one\nlabels: [a, b]\npooling: cls\nhead_layers: 1\nlearning_rate: 0.001\n")
    own = tmp_path / "own.yaml"
    for text, expected in (
        ("classifier: mine.py:Mine\n", {"dataset": "one", "labels": ["a", "b"], "classifier": "mine.py:Mine"}),
        ("classifier: null\nhead_layers: 2\n", None),
        ("dataset: two\n", {"dataset": "two", "pooling": "cls", "head_layers": 1}),
    ):
        own.write_text(f"recipe: custom\n{text}")
        found = Compared.named(str(own), below, []).configuration
        if expected is None:
            expected = yaml.safe_load(below.read_text()) | {"classifier": None, "head_layers": 2}
        assert found == expected | {"learning_rate": 0.001}


def test_a_recipe_that_fails_is_told_by_its_own_sentence(config, tmp_path):
    with pytest.raises(UserError, match=r"baseline-seed-1 ended with status 2: .*no such column.*\.log\)"):
        compare(
            *("baseline", "stock", "--config", config, "--seeds", 1, "--output_dir", tmp_path),
            *("--text_column", "body"),
        )


@pytest.fixture
def others(compared, tmp_path):
    """Two finished runs that a test may damage."""
    folder, _ = compared
    for name in ("baseline", "mean"):
        shutil.copytree(folder / f"{name}-seed-1", tmp_path / name)
    return tmp_path / "baseline", tmp_path / "mean"


def change(path, **values):
    metrics = json.loads((path / "metrics.json").read_text())
    for key, value in values.items():
        metrics["environment"][key] = metrics["environment"][key] | value
    (path / "metrics.json").write_text(json.dumps(metrics))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda run: change(run, data={"validation": "0"}), "their validation rows differ in ids, texts or labels"),
        (lambda run: change(run, data={"train": "0", "test": "1"}), "their train and test rows differ"),
        (
            lambda run: change(run, labels={"names": ["1", "0"]}),
            "labels differ|has not the columns",
        ),
        (lambda run: change(run, labels={"task": "multi-class"}), "their task differ, binary and multi-class"),
        (lambda run: (run / "metrics.json").unlink(), "is a run that is not finished: finish it by"),
        (lambda run: (run / "metrics.json").write_text("{"), "metrics.json is damaged"),
        (lambda run: (run / "validation_predictions.csv").unlink(), "it has no validation_predictions.csv"),
        (lambda run: (run / "run.yaml").unlink(), "is no run: it has no run.yaml"),
    ],
)
def test_runs_that_cannot_be_compared_are_an_error_that_says_why(damage, sentence, others, tmp_path):
    damage(others[1])
    with pytest.raises(UserError, match=sentence):
        compare(*others, "--output_dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_of_300_labels_those_that_differ_are_named(others, tmp_path):
    names = [f"label-{i:03}" for i in range(300)]
    for run, own in zip(others, (names, [*names[:-1], "another"]), strict=True):
        change(run, labels={"names": own})
        rows = Predictions.read(run, ["0", "1"], "single_label_classification")
        rows = dataclasses.replace(rows, probabilities=np.full((len(rows.ids), 300), 1 / 300), label_names=own)
        rows.write(run)
    shown = "label-299, label-000, label-001, label-002, label-003 and 295 more and another, label-000"
    with pytest.raises(UserError, match=shown) as caught:
        compare(*others, "--output_dir", tmp_path / "out")
    assert len(str(caught.value)) < 500


def test_rows_of_one_id_are_compared_by_their_order(competition, tiny_bert, tmp_path):
    lines = (competition / "train.csv").read_text().splitlines()
    lines[1:] = [f"same,{line.split(',', 1)[1]}" for line in lines[1:]]
    (tmp_path / "train.csv").write_text("\n".join(lines))
    for name, size in (("one", "2"), ("two", "4")):
        flags = ["--folds", "2", "--per_device_train_batch_size", size]
        recipe("baseline", tmp_path / name, tmp_path / "train.csv", tiny_bert, *flags)
    first, second = (
        Predictions.read(tmp_path / name, ["0", "1"], "single_label_classification") for name in ("one", "two")
    )
    assert first.ids == second.ids == ["same"] * 100
    assert first.columns["text"] == [line.split(",")[1] for line in lines[1:]]
    assert [str(label) for label in first.labels] == [line.split(",")[2] for line in lines[1:]]
    compare(tmp_path / "one", tmp_path / "two", "--output_dir", tmp_path / "out")
    assert "100 out-of-fold rows" in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["stock"], "one thing alone cannot be compared"),
        (["stock", "stock"], "stock is named twice"),
        (["stock", "nowhere.yaml"], "nowhere.yaml is no recipe"),
        (["stock", "custom", "--config", "nowhere.yaml"], "nowhere.yaml is not there"),
        (["stock", "custom", "--jobs", "0"], "--jobs 0: give 1 or more"),
    ],
)
def test_a_mistake_at_the_command_line_starts_nothing(arguments, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        compare(*arguments, "--output_dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_yaml_file_must_name_its_recipe(config, tmp_path):
    with pytest.raises(UserError, match="does not say of which recipe it is: add 'recipe: custom'"):
        compare("stock", config, "--output_dir", tmp_path / "out")


def test_each_of_several_jobs_has_its_share_of_the_cores(compared):
    folder, _ = compared
    threads = json.loads((folder / "mean-seed-1/metrics.json").read_text())["environment"]["threads"]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert threads == max(1, cores // 2)


def test_out_of_fold_predictions_are_compared_too(competition, tiny_bert, tmp_path, capsys):
    for name in ("baseline", "stock"):
        recipe(name, tmp_path / name, competition, tiny_bert, "--folds", "2")
    compare(tmp_path / "baseline", tmp_path / "stock", "--output_dir", tmp_path / "out")
    assert "100 out-of-fold rows" in (tmp_path / "out/report.html").read_text()
    recipe("baseline", tmp_path / "other", competition, tiny_bert, "--folds", "2", "--split_seed", "7", "--seed", "3")
    with pytest.raises(UserError, match="the folds of these differ; take the same --folds and --split_seed"):
        compare(tmp_path / "stock", tmp_path / "other", "--output_dir", tmp_path / "out")
    recipe("baseline", tmp_path / "one", competition, tiny_bert)
    with pytest.raises(UserError, match="their train and validation rows differ"):
        compare(tmp_path / "stock", tmp_path / "one", "--output_dir", tmp_path / "out")


@pytest.mark.parametrize(
    ("named", "flags", "warned"),
    [
        (["stock", "custom"], [], True),
        (["stock", "custom"], ["--pooling", "cls"], False),
        (["stock", "custom"], ["--loss=focal"], False),
        (["baseline", "custom"], [], False),
    ],
)
def test_a_custom_recipe_without_choices_is_told_to_be_stock(named, flags, warned, tmp_path):
    (tmp_path / "config.yaml").write_text("model: embedded:minilm\n")
    compared = [Compared.named(name, tmp_path / "config.yaml", flags) for name in named]
    assert bool(twin_of_stock(compared)) == warned
