"""TF-IDF and a linear model."""

from unittest.mock import patch

import numpy as np
import pytest
from scipy.sparse import csr_matrix, vstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline, make_union
from support.rows import WORDS

from bert_recipes.errors import UserError
from bert_recipes.modeling.baseline import Baseline, RotatedLogisticRegression
from bert_recipes.task import Task

TEXTS = [f"{WORDS[i % 13]} {WORDS[(i * 5) % 13]} number {i}" for i in range(120)]
FIRE = np.array([int("fire" in text or "flood" in text) for text in TEXTS])


def test_it_learns_what_words_tell():
    labels = Task("binary", ["0", "1"], ["target"])
    model = Baseline(labels, seed=0)
    model.fit(TEXTS[:90], FIRE[:90])
    p = model.predict(TEXTS[90:])
    assert p.shape == (30, 2)
    assert (p.argmax(axis=1) == FIRE[90:]).all()
    assert model.losses(p, FIRE[90:]).mean() == pytest.approx(log_loss(FIRE[90:], p))


@pytest.mark.parametrize("rows", [90, 120])
def test_it_weighs_as_the_vectorizers_of_scikit_learn_do(rows):
    texts = [f"{text} Ünïted {'🔥' * (i % 3)}" for i, text in enumerate(TEXTS[:rows])]
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, strip_accents="unicode", token_pattern=r"\w+")
    fewest = 2 if rows >= 100 else 1
    characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True, min_df=fewest)
    plain = make_pipeline(make_union(words, characters), LogisticRegression(C=2.0, max_iter=1000))
    model = Baseline(Task("binary", ["0", "1"], ["target"]), seed=0)
    model.fit(texts, FIRE[:rows])
    new = [*texts[:5], "", "a storm of Üni", "unseen"]
    np.testing.assert_allclose(model.predict(new), plain.fit(texts, FIRE[:rows]).predict_proba(new), atol=1e-3)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(("rows", "columns"), [(40, 900), (300, 20)])
def test_in_the_directions_of_the_rows_the_model_is_the_same(rows, columns, classes):
    rng = np.random.default_rng(0)
    counts = csr_matrix(rng.poisson(0.05, (rows, columns)).astype(np.float32))
    # Of a text that stands there twice, and of one without words.
    counts = vstack([counts, counts[:3], csr_matrix((1, columns), dtype=np.float32)]).tocsr()
    labels = rng.integers(0, classes, rows + 4)
    # Both near the one optimum, where the default tolerance would leave them apart.
    settings = {"C": 2.0, "max_iter": 5000, "tol": 1e-9}
    ours = RotatedLogisticRegression(**settings).fit(counts, labels)
    plain = LogisticRegression(**settings).fit(counts, labels)
    np.testing.assert_allclose(ours.coef_, plain.coef_, atol=1e-3)
    np.testing.assert_allclose(ours.intercept_, plain.intercept_, atol=1e-3)
    np.testing.assert_allclose(ours.predict_proba(counts), plain.predict_proba(counts), atol=1e-3)


def test_few_long_texts_are_fitted_with_as_many_weights_as_texts():
    counts = csr_matrix(np.random.default_rng(0).poisson(0.05, (40, 900)).astype(np.float32))
    labels = np.arange(40) % 2
    with patch.object(LogisticRegression, "fit", autospec=True, side_effect=LogisticRegression.fit) as fit:
        RotatedLogisticRegression().fit(counts, labels)
    assert fit.call_args.args[1].shape == (40, 40)


def test_values_that_differ_in_their_last_digits_are_told_apart():
    values = 1.7e9 + 30 * FIRE[:, None]
    model = Baseline(Task("regression", ["target"], ["target"]), seed=0)
    model.fit(TEXTS, values)
    found = model.predict(TEXTS)
    assert found.shape == (120, 1)
    assert abs(found - values).max() < 10


def test_a_label_that_train_lacks_is_never_predicted():
    model = Baseline(Task("multi-class", ["a", "b", "c"], ["target"]), seed=0)
    model.fit(TEXTS, 2 * FIRE)
    p = model.predict(TEXTS[:5])
    assert (p[:, 1] == 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert np.isfinite(model.losses(p, np.ones(5, dtype=int))).all()


def test_few_rows_of_one_label_are_fitted_too():
    model = Baseline(Task("binary", ["0", "1"], ["target"]), seed=0)
    model.fit(["ab", "cd", "ef"], np.ones(3, dtype=int))
    assert model.predict(["x"]).tolist() == [[0, 1]]


def test_texts_without_words_are_an_error():
    model = Baseline(Task("binary", ["0", "1"], ["target"]), seed=0)
    with pytest.raises(UserError, match="no text of train has one"):
        model.fit(["🔥🔥", "..."], np.array([0, 1]))


def test_a_single_label_that_may_hold_has_one_probability():
    model = Baseline(Task("multi-label", ["fire"], ["target"]), seed=0)
    model.fit(TEXTS, FIRE[:, None].astype(float))
    p = model.predict(TEXTS[:20])
    assert p.shape == (20, 1)
    assert ((p[:, 0] > 0.5) == FIRE[:20]).all()
