"""A verdict says which of two is better, by how much, or what it would take to see."""

import numpy as np
from support.guesses import LABELS, compared, guesses

from bert_recipes.evaluation import significance as s
from bert_recipes.reporting import verdicts as v


def difference(a, b, low, high, of_rows=0.001, holm=0.5, rows=760):
    a, b = np.array(a), np.array(b)
    return s.Difference(a, b, a.mean() - b.mean(), low, high, holm, of_rows, rows, 0.5, holm=holm)


def said(*arguments, **keywords):
    return str(v.finding(*arguments, **keywords))


def test_a_verdict_says_which_is_better_and_by_how_much():
    d = difference([0.809, 0.811], [0.80, 0.802], 0.001, 0.017, holm=0.01)
    assert said("custom", "stock", "F1", d) == (
        "custom is better than stock by 0.9 points of F1. 95 % interval +0.1 to +1.7."
    )
    d = difference([0.80, 0.802], [0.809, 0.811], -0.017, -0.001, holm=0.01)
    assert said("custom", "stock", "F1", d, pairs=3) == (
        "stock is better than custom by 0.9 points of F1. 95 % interval +0.1 to +1.7, p 0.010 corrected for 3 pairs."
    )


def test_a_verdict_says_how_many_seeds_it_would_take():
    d = difference([0.80, 0.81, 0.805], [0.80, 0.805, 0.80], -0.004, 0.01)
    needed = s.seeds_needed(d)
    sentence = said("custom", "stock", "F1", d)
    assert sentence.startswith("No visible difference in F1 between custom and stock. With 3 seeds custom came out ")
    assert sentence.endswith(f"to see half a point you would need about {needed}.")
    # By hand: the seeds' variances over k, and the rows' variance, make half a point 2.80 standard errors.
    between = d.a.var(ddof=1) + d.b.var(ddof=1)
    assert np.sqrt(between / needed + d.of_rows**2) <= 0.005 / 2.8015 < np.sqrt(between / (needed - 1) + d.of_rows**2)


def test_a_verdict_says_when_the_rows_are_too_few():
    d = difference([0.80, 0.81, 0.805], [0.80, 0.805, 0.80], -0.01, 0.01, of_rows=0.01)
    assert s.seeds_needed(d) is None
    assert "it would take about 24,000 rows, and these are 760, however many seeds" in said("a", "b", "F1", d)


def test_one_seed_is_said():
    d = difference([0.80], [0.79], -0.01, 0.03)
    assert "of the spread between seeds one seed tells nothing: take at least 3" in said("a", "b", "F1", d)
    d = difference([0.90], [0.79], 0.08, 0.13, holm=0.001)
    assert "with one seed each that is said of these two runs alone" in said("a", "b", "F1", d)


def test_alike_is_said():
    same = guesses(LABELS, 0.8, 2, np.random.default_rng(0))
    d = compared(s.f1(2), LABELS, same, same)
    assert said("a", "b", "F1", d) == "a and b are alike in F1 in every seed."


def test_where_the_seeds_would_have_shown_half_a_point_no_more_are_asked_for():
    seeds = np.array([0.800, 0.801, 0.802, 0.801, 0.800])
    d = s.Difference(
        a=seeds + 0.001,
        b=seeds,
        value=0.001,
        low=-0.001,
        high=0.003,
        p=0.3,
        of_rows=0.001,
        rows=9000,
        mcnemar=0.4,
        holm=0.3,
    )
    assert s.seeds_needed(d) <= 5
    assert said("stock", "custom", "F1", d).endswith("half a point would most likely have been seen with these.")


def test_a_finding_has_one_direction():
    """The better minus the other: in the sentence, in the table and in the figure."""
    d = difference([0.80, 0.81], [0.80, 0.82], -0.015, 0.003)
    found = v.finding("custom", "stock", "F1", d)
    assert (found.better, found.worse) == ("stock", "custom")
    np.testing.assert_allclose((found.value, found.low, found.high), (0.005, -0.003, 0.015))
    assert not found.visible
    assert found.headline == "No visible difference in F1 between stock and custom."
    assert "stock came out 0.5 points higher, 95 % interval -0.3 to +1.5" in found.statistics


def test_no_interval_ends_at_minus_zero():
    d = difference([0.80, 0.81, 0.805], [0.80, 0.805, 0.80], -0.0001, 0.01)
    assert "95 % interval +0.0 to +1.0" in said("a", "b", "F1", d)
