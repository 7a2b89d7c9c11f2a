"""Intervals, p-values and corrections are scipy's, scikit-learn's or done by hand."""

import time

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap
from sklearn.metrics import accuracy_score, f1_score, r2_score
from support.guesses import LABELS, compared, guesses

from bert_recipes.evaluation import significance as s


@pytest.mark.parametrize(
    ("score", "expected", "classes"),
    [
        (s.f1(2), f1_score, 2),
        (s.f1(4), lambda y, p: f1_score(y, p, average="macro"), 4),
        (s.accuracy(), accuracy_score, 4),
    ],
)
def test_scores_of_sums_are_scikit_learns(score, expected, classes):
    draw = np.random.default_rng(1)
    labels, predictions = draw.integers(0, classes, (2, 300))
    assert score.of_sums(score.terms(labels, predictions).sum(axis=0)) == pytest.approx(expected(labels, predictions))


def test_scores_of_several_labels_and_values():
    draw = np.random.default_rng(1)
    labels, predictions = draw.integers(0, 2, (2, 300, 3)).astype(float)
    micro, whole = s.f1(3, several=True), s.accuracy()
    assert micro.of_sums(micro.terms(labels, predictions).sum(axis=0)) == pytest.approx(
        f1_score(labels, predictions, average="micro")
    )
    assert whole.of_sums(whole.terms(labels, predictions).sum(axis=0)) == pytest.approx(
        accuracy_score(labels, predictions)
    )
    values = draw.normal(size=(300, 2)) + 5
    r2 = s.r_squared()
    assert r2.of_sums(r2.terms(values, values + labels[:, :2]).sum(axis=0)) == pytest.approx(
        r2_score(values, values + labels[:, :2])
    )


def test_the_interval_is_scipys():
    draw = np.random.default_rng(2)
    a, b = guesses(LABELS, 0.85, 1, draw), guesses(LABELS, 0.80, 1, draw)
    found = compared(s.f1(2), LABELS, a, b)

    def difference(rows, axis):
        y, p, q = LABELS[rows], a[0][rows], b[0][rows]
        scores = [2 * (y & x).sum(axis=axis) / (y.sum(axis=axis) + x.sum(axis=axis)) for x in (p, q)]
        return scores[0] - scores[1]

    expected = bootstrap(
        (np.arange(len(LABELS)),), difference, n_resamples=10_000, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.003)
    assert found.value == pytest.approx(f1_score(LABELS, a[0]) - f1_score(LABELS, b[0]))


def test_seeds_widen_the_interval():
    draw = np.random.default_rng(4)
    right = np.array([0.70, 0.75, 0.80, 0.85, 0.90])
    spread = np.concatenate([guesses(LABELS, r, 1, draw) for r in right])
    steady = guesses(LABELS, 0.8, 5, draw)
    wide, narrow = compared(s.accuracy(), LABELS, spread, steady), compared(s.accuracy(), LABELS, steady, steady[::-1])
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_false_alarms_are_about_as_rare_as_promised():
    alarms = 0
    for i in range(60):
        draw = np.random.default_rng(i)
        rates = 0.8 + draw.normal(size=10) * 0.01
        runs = np.concatenate([guesses(LABELS, r, 1, draw) for r in rates])
        found = compared(s.accuracy(), LABELS, runs[:5], runs[5:], resamples=500, seed=i)
        alarms += found.p < 0.05
    assert alarms <= 8


def test_mcnemar_is_the_binomial_test_of_the_discordant_rows():
    draw = np.random.default_rng(5)
    a, b = guesses(LABELS, 0.85, 1, draw)[0], guesses(LABELS, 0.78, 1, draw)[0]
    only_a, only_b = ((a == LABELS) & (b != LABELS)).sum(), ((a != LABELS) & (b == LABELS)).sum()
    assert s.mcnemar_p(LABELS, a, b) == pytest.approx(binomtest(int(only_a), int(only_a + only_b)).pvalue)
    assert s.mcnemar_p(LABELS, a, a) == 1


def test_holm_by_hand():
    assert s.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_a_constant_predictor_is_compared():
    d = compared(s.f1(2), LABELS, np.zeros((2, 600), dtype=int), guesses(LABELS, 0.8, 2, np.random.default_rng(0)))
    assert d.a.tolist() == [0, 0]
    assert d.high < 0


def test_ten_thousand_resamples_of_ten_thousand_rows_take_seconds():
    draw = np.random.default_rng(6)
    labels = draw.integers(0, 2, 10_000)
    a, b = guesses(labels, 0.84, 5, draw), guesses(labels, 0.83, 5, draw)
    start = time.process_time()
    compared(s.f1(2), labels, a, b)
    assert time.process_time() - start < 10
