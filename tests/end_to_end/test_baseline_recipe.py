"""The baseline fills a run folder as the other recipes do, on the same split."""

import json

import pytest
import yaml
from support.rows import WORDS, write_csv
from support.scripts import predictions, recipe

TEXTS = [f"{WORDS[i % 13]} {WORDS[(i * 5) % 13]} number {i}" for i in range(120)]


@pytest.mark.parametrize(
    ("task", "cells"),
    [
        ("multi-class", lambda i: [WORDS[i % 3]]),
        ("multi-label", lambda i: ["|".join(WORDS[j] for j in range(4) if (i % 15 + 1) >> j & 1)]),
        ("regression", lambda i: [i % 7 + 0.5]),
    ],
)
def test_every_task_in_a_run_folder(task, cells, tiny_bert, tmp_path):
    write_csv(tmp_path / "train.csv", [["text", "label"], *([text, *cells(i)] for i, text in enumerate(TEXTS))])
    recipe("baseline", tmp_path / "run", tmp_path / "train.csv", tiny_bert)
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["environment"]["labels"]["task"] == task
    assert "loss" in metrics["validation"]
    assert len(predictions(tmp_path / "run")) == 12
    assert "By label" in (tmp_path / "run/report.html").read_text() or task == "regression"


def test_it_has_the_split_of_the_other_recipes_and_takes_their_configuration(competition, tiny_bert, tmp_path):
    for name in ("baseline", "stock"):
        recipe(name, tmp_path / name, competition, tiny_bert, "--learning_rate", "1e-4")
    own = tmp_path / "own.yaml"
    own.write_text("recipe: custom\npooling: mean\nlayer_decay: 0.9\n")
    recipe("baseline", tmp_path / "own", competition, tiny_bert, "--config", str(own))
    assert yaml.safe_load((tmp_path / "own/run.yaml").read_text())["recipe"] == "baseline"
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("baseline", "stock")]
    assert metrics[0]["environment"]["data"] == metrics[1]["environment"]["data"]
    files = [{path.name for path in (tmp_path / name).iterdir()} for name in ("baseline", "stock")]
    assert files[1] - files[0] == {"model", "checkpoints", "trainer_state.json"}
    assert "fitted in seconds" in (tmp_path / "baseline/README.md").read_text()
