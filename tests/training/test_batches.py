"""An epoch's rows are dealt once each, and who gets them does not change which meet in a step."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.measures import TWEET_LENGTHS
from bert_recipes.columns import COUNT
from bert_recipes.training.batches import EvaluationBatches, StandInCollator, StepBatches, TextCollator

STRATEGIES = ("random", "sequential", "group_by_length")


def deal(rows, batch, accumulation, processes, strategy, epoch=0, **options):
    """Return the micro-batches of every process and the batches themselves."""
    dealt = []
    for process in range(processes):
        batches = StepBatches(
            rows,
            micro_batch_size=batch,
            accumulation=accumulation,
            processes=processes,
            process=process,
            strategy=strategy,
            lengths=[i % 7 + 1 for i in range(rows)],
            **options,
        )
        batches.set_epoch(epoch)
        dealt.append(list(batches))
        assert len(dealt[-1]) == len(batches)
    return dealt


def steps(dealt, accumulation):
    """Return the set of rows of each step."""
    rounds = list(zip(*dealt, strict=True))
    return [
        {row for micro_batches in rounds[i : i + accumulation] for batch in micro_batches for row in batch}
        for i in range(0, len(rounds), accumulation)
    ]


@given(
    rows=st.integers(1, 80),
    batch=st.integers(1, 5),
    accumulation=st.integers(1, 4),
    processes=st.integers(1, 5),
    strategy=st.sampled_from(STRATEGIES),
    epoch=st.integers(0, 3),
)
def test_every_cut_has_the_same_rows_in_each_step(rows, batch, accumulation, processes, strategy, epoch):
    dealt = deal(rows, batch, accumulation, processes, strategy, epoch)
    assert sorted(row for share in dealt for b in share for row in b) == list(range(rows))
    assert max(len(b) for share in dealt for b in share) <= batch
    whole = deal(rows, batch * accumulation * processes, 1, 1, strategy, epoch)
    assert steps(dealt, accumulation) == [set(b) for b in whole[0]]


def test_epochs_differ_and_repeat():
    first, second = (deal(30, 4, 1, 1, "random", epoch) for epoch in (0, 1))
    assert first != second
    assert first == deal(30, 4, 1, 1, "random", 0)
    assert first != deal(30, 4, 1, 1, "random", 0, seed=1)


def test_grouping_by_length_pads_less():
    lengths = [i % 7 + 1 for i in range(700)]

    def padded(strategy):
        return sum(len(b) * max(lengths[i] for i in b) for b in deal(700, 10, 1, 1, strategy)[0])

    assert padded("group_by_length") < 0.8 * padded("random")


@pytest.fixture
def tweets():
    """The lengths of 6,852 tweets."""
    percentiles = np.random.default_rng(0).uniform(0, 20, size=6852)
    return np.interp(percentiles, range(21), TWEET_LENGTHS).round().astype(int)


def test_grouped_tweets_are_padded_by_less_than_3_percent(tweets):
    for size in (16, 32, 64):
        steps = list(StepBatches(len(tweets), micro_batch_size=size, strategy="group_by_length", lengths=tweets))
        padded = sum(len(step) * tweets[step].max() for step in steps)
        assert 1 - tweets.sum() / padded < 0.03


def test_grouped_steps_come_in_random_order_of_length(tweets):
    batches = StepBatches(len(tweets), micro_batch_size=32, strategy="group_by_length", lengths=tweets)
    means = np.array([tweets[step].mean() for step in batches][:-1])
    # A sawtooth, as transformers leaves it, has neighbours alike: its correlation is near one.
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.25
    # No part of the epoch sees other lengths than the whole.
    assert [part.mean() for part in np.array_split(means, 4)] == pytest.approx([means.mean()] * 4, rel=0.15)


def test_the_step_that_is_not_full_has_no_longer_rows_than_others(tweets):
    last = []
    for epoch in range(40):
        batches = StepBatches(len(tweets), micro_batch_size=32, strategy="group_by_length", lengths=tweets)
        batches.set_epoch(epoch)
        last += tweets[list(batches)[-1]].tolist()
    assert np.mean(last) == pytest.approx(tweets.mean(), abs=2)


@given(
    lengths=st.lists(st.integers(1, 90), min_size=1, max_size=100),
    size=st.integers(1, 9),
    processes=st.integers(1, 4),
)
def test_an_evaluation_has_every_row_and_batches_that_can_be_gathered(lengths, size, processes):
    dealt = [list(EvaluationBatches(np.array(lengths), size, processes, process)) for process in range(processes)]
    assert len({tuple(map(len, batches)) for batches in dealt}) == 1
    assert max(len(batch) for batch in dealt[0]) <= size
    rows = [row for batches in zip(*dealt, strict=True) for batch in batches for row in batch]
    assert set(rows) == set(range(len(lengths)))
    assert len(rows) < len(lengths) + processes
    assert len(dealt[0]) == len(EvaluationBatches(np.array(lengths), size, processes))
    longest = [max(lengths[row] for batch in batches for row in batch) for batches in zip(*dealt, strict=True)]
    assert longest == sorted(longest, reverse=True)


def test_a_batch_of_an_evaluation_is_bounded_in_windows():
    lengths = np.array([5, 90, 40, 7, 41, 100, 8, 9])
    windows = np.array([1, 9, 4, 1, 4, 10, 1, 1])
    for processes in (1, 2):
        dealt = [list(EvaluationBatches(lengths, 8, processes, p, windows)) for p in range(processes)]
        assert len({tuple(map(len, batches)) for batches in dealt}) == 1
        assert sorted(row for batches in dealt for batch in batches for row in batch) == list(range(8))
        for batch in itertools.chain(*dealt):
            assert len(batch) == 1 or windows[batch].sum() <= 8
        assert len(dealt[0]) == len(EvaluationBatches(lengths, 8, processes, 0, windows))


def test_all_windows_of_a_batch_are_padded_together(tokenizer):
    rows = [
        {"input_ids": [[2, 5, 3]], "attention_mask": [[1, 1, 1]], "labels": 1, "row": 4, "num_windows": 1},
        {
            "input_ids": [[2, 5, 6, 3], [2, 3]],
            "attention_mask": [[1] * 4, [1, 1]],
            "labels": 0,
            "row": 2,
            "num_windows": 2,
        },
    ]
    batch = TextCollator(tokenizer)(rows)
    assert batch["input_ids"].tolist() == [[2, 5, 3, 0], [2, 5, 6, 3], [2, 3, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]]
    assert {name: batch[name].tolist() for name in ("labels", "row", "num_windows")} == {
        "labels": [1, 0],
        "row": [4, 2],
        "num_windows": [1, 2],
    }


def test_drop_last_leaves_whole_steps():
    dealt = deal(23, 2, 2, 2, "random", drop_last=True)
    assert [len(b) for share in dealt for b in share] == [2] * 8


@pytest.mark.parametrize("rows", [0, 2])
def test_a_stand_in_counts_nothing(rows):
    collator = StandInCollator(lambda rows: {"x": torch.tensor([row["x"] for row in rows])}, {"x": 5})
    batch = collator([{"x": 1}] * rows)
    assert batch[COUNT].tolist() == ([1.0] * rows or [0.0])
    assert batch["x"].tolist() == ([1] * rows or [5])
