import json

import numpy as np
import pytest
import yaml
from conftest import WORDS, write_csv
from sklearn.metrics import log_loss
from test_run import own_argv, predictions, recipe  # noqa: F401 (a fixture that undoes what recipe() sets)

from bert_recipes.baseline import Baseline
from bert_recipes.errors import UserError
from bert_recipes.labels import Labels

TEXTS = [f"{WORDS[i % 13]} {WORDS[(i * 5) % 13]} number {i}" for i in range(120)]
FIRE = np.array([int("fire" in text or "flood" in text) for text in TEXTS])


def test_it_learns_what_words_tell():
    labels = Labels("binary", ["0", "1"], ["target"])
    model = Baseline(labels, seed=0)
    model.fit(TEXTS[:90], FIRE[:90])
    p = model.predict(TEXTS[90:])
    assert p.shape == (30, 2)
    assert (p.argmax(axis=1) == FIRE[90:]).all()
    assert model.losses(p, FIRE[90:]).mean() == pytest.approx(log_loss(FIRE[90:], p))


def test_a_label_that_train_lacks_is_never_predicted():
    model = Baseline(Labels("multi-class", ["a", "b", "c"], ["target"]), seed=0)
    model.fit(TEXTS, 2 * FIRE)
    p = model.predict(TEXTS[:5])
    assert (p[:, 1] == 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert np.isfinite(model.losses(p, np.ones(5, dtype=int))).all()


def test_few_rows_of_one_label_are_fitted_too():
    model = Baseline(Labels("binary", ["0", "1"], ["target"]), seed=0)
    model.fit(["ab", "cd", "ef"], np.ones(3, dtype=int))
    assert model.predict(["x"]).tolist() == [[0, 1]]


def test_texts_without_words_are_an_error():
    model = Baseline(Labels("binary", ["0", "1"], ["target"]), seed=0)
    with pytest.raises(UserError, match="no text of train has one"):
        model.fit(["🔥🔥", "..."], np.array([0, 1]))


def test_a_single_label_that_may_hold_has_one_probability():
    model = Baseline(Labels("multi-label", ["fire"], ["target"]), seed=0)
    model.fit(TEXTS, FIRE[:, None].astype(float))
    p = model.predict(TEXTS[:20])
    assert p.shape == (20, 1)
    assert ((p[:, 0] > 0.5) == FIRE[:20]).all()


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
