"""Validation and folds: stratified, seeded, and copies of a text on one side."""

from collections import defaultdict

import numpy as np
import pytest
from datasets import Dataset
from support.reading import read

from bert_recipes.config.arguments import DataArguments
from bert_recipes.data.loading import load_data
from bert_recipes.data.splits import assign_folds, split_off_validation, strata_of
from bert_recipes.errors import UserError
from bert_recipes.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL


def test_copies_of_a_text_stay_on_one_side(folder):
    rows = "\n".join(f"copy {i % 40},{'yes' if i % 40 < 15 else 'no'}" for i in range(120))
    (folder / "train.csv").write_text("text,label\n" + rows)
    splits = read(folder, validation_size=0.25).splits
    assert not set(splits["train"]["text"]) & set(splits["validation"]["text"])
    assert 24 <= len(splits["validation"]) <= 36


def test_the_cut_is_seeded_and_stratified(folder):
    (folder / "train.csv").write_text("text,label\n" + "\n".join(f"t{i},{int(i < 30)}" for i in range(100)))
    first, again = read(folder).splits, read(folder).splits
    other = read(folder, split_seed=1).splits
    assert first["validation"]["id"] == again["validation"]["id"] != other["validation"]["id"]
    assert sum(first["validation"]["labels"]) == 3


def test_embedded_data_is_cut_without_a_network():
    data = load_data(DataArguments(dataset="embedded:bbc-news"))
    train, validation = split_off_validation(data.splits["train"], 0.1, 0, data.task.problem_type)
    assert len(data.task.label_names) == 5
    assert not set(train["text"]) & set(validation["text"])


def test_strata():
    assert strata_of([0, 1, 1], "single_label_classification").tolist() == [0, 1, 1]
    # The rarest label of each row; rows without any have a stratum of their own.
    rows = [[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0]]
    assert strata_of(rows, MULTI_LABEL).tolist() == [2, 1, 0, 3]
    assert len(set(strata_of([[float(i)] for i in range(100)], REGRESSION))) == 10


def dealt(texts, labels, k=3, problem_type=SINGLE_LABEL, seed=0):
    return assign_folds(Dataset.from_dict({"text": texts, "labels": labels}), k, seed, problem_type)


def test_folds_are_stratified_and_keep_copies_together():
    texts = [f"text {i % 60}" for i in range(100)]
    labels = [int(i % 60 < 20) for i in range(100)]
    folds = dealt(texts, labels)
    where = defaultdict(set)
    for text, fold in zip(texts, folds, strict=True):
        where[text].add(fold)
    assert all(len(found) == 1 for found in where.values())
    firsts = folds[:60]
    for fold in range(3):
        assert (firsts == fold).sum() == 20
        assert abs(sum(labels[i] for i in np.flatnonzero(firsts == fold)) - 20 / 3) < 1
    assert (dealt(texts, labels) == folds).all()
    assert (dealt(texts, labels, seed=1) != folds).any()


def test_a_label_rarer_than_the_folds_is_dealt_all_the_same():
    texts = [f"text {i}" for i in range(30)]
    folds = dealt(texts, [2, 2] + [0, 1] * 14, k=5)
    assert np.bincount(folds).tolist() == [6] * 5
    several = [[float(i % 7 == 0), float(i % 3 == 0), 1.0] for i in range(30)]
    assert np.bincount(dealt(texts, several, k=5, problem_type=MULTI_LABEL)).tolist() == [6] * 5


def test_more_folds_than_texts_are_an_error():
    with pytest.raises(UserError, match="--folds 3: train has 2 distinct texts"):
        dealt(["a", "b", "a"], [0, 1, 0])
