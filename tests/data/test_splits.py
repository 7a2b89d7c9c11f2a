"""Validation and folds: stratified, seeded, and copies of a text on one side."""

from collections import defaultdict

import numpy as np
import pytest
from datasets import Dataset
from support.reading import read

from bert_recipes.config.arguments import DataArguments
from bert_recipes.data.loading import load_data
from bert_recipes.data.splits import assign_folds, column, label_order, split_off_validation, strata_of
from bert_recipes.errors import UserError
from bert_recipes.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Task


def test_a_column_of_numbers_is_what_it_holds():
    values = [0.7, 20240115.25, 16777217.0, -1e300]
    rows = Dataset.from_dict(
        {"one": values, "two": [[v, 2 * v] for v in values], "is_cut": [True, False] * 2, "labels": [2**53 + 1] * 4}
    )
    rows = rows.select([1, 0, 3])
    assert column(rows, "one").tolist() == [values[i] for i in (1, 0, 3)]
    assert column(rows, "two").tolist() == [[values[i], 2 * values[i]] for i in (1, 0, 3)]
    assert (column(rows, "is_cut").dtype, column(rows, "labels").tolist()) == (bool, [2**53 + 1] * 3)


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


def cut(texts, labels, size=0.1, seed=0):
    rows = Dataset.from_dict({"text": texts, "labels": labels, "id": list(map(str, range(len(texts))))})
    return split_off_validation(rows, size, seed, SINGLE_LABEL)


def test_many_classes_of_few_rows_are_cut_as_evenly_as_can_be():
    texts, labels = [f"text {i}" for i in range(750)], [i % 150 for i in range(750)]
    train, validation = cut(texts, labels)
    assert len(validation) == 75
    assert np.bincount(validation["labels"][:]).max() == 1
    assert set(train["labels"][:]) == set(range(150))
    assert cut(texts, labels)[1]["id"][:] == validation["id"][:] != cut(texts, labels, seed=1)[1]["id"][:]


def test_a_cut_by_largest_remainder_follows_the_sizes_of_the_classes():
    # 40 rows of one class, 4 of each of ten: two thirds of what is drawn go by whole shares, none takes a class whole.
    labels = [0] * 40 + [1 + i % 10 for i in range(40)] + [11]
    validation = cut([f"text {i}" for i in range(81)], labels, size=0.1)[1]
    counts = np.bincount(validation["labels"][:], minlength=12)
    assert (len(validation), counts[0], counts[1:].max(), counts[11]) == (8, 4, 1, 0)
    train, validation = cut([f"text {i}" for i in range(81)], labels, size=0.9)
    assert set(train["labels"][:]) == set(range(12))
    assert len(validation) == 80 - 11


def test_copies_stay_together_where_there_are_many_classes():
    texts = [f"text {i % 300}" for i in range(900)]
    train, validation = cut(texts, [i % 300 // 3 for i in range(900)])
    assert len(validation) == 90
    assert not set(train["text"][:]) & set(validation["text"][:])
    assert len(set(train["labels"][:])) == 100


def test_a_class_that_only_copies_of_drawn_texts_bear_is_kept_in_train():
    # The first row of each text is of class 0 or 1; class 2 has the last copy of a few texts alone.
    texts = [f"text {i}" for i in range(40)] + ["text 3", "text 4"]
    labels = [i % 2 for i in range(40)] + [2, 2]
    for seed in range(40):
        train, validation = cut(texts, labels, size=0.5, seed=seed)
        assert 2 in train["labels"][:]
        assert not set(train["text"][:]) & set(validation["text"][:])


def test_nothing_to_cut_from_is_one_sentence():
    with pytest.raises(UserError, match=r"too few distinct texts \(2\) .*give a validation file, or more rows"):
        cut(["a", "a", "b"], [0, 0, 1])


def test_folds_deal_rare_classes_one_by_one():
    texts, labels = [f"text {i}" for i in range(750)], [i % 150 for i in range(750)]
    folds = dealt(texts, labels, k=10)
    assert np.bincount(folds).tolist() == [75] * 10
    assert all(len(set(folds[label::150])) == 5 for label in range(150))
    assert (dealt(texts, labels, k=10, seed=1) != folds).any()
    # A class of two texts is never validated by a model that has seen neither.
    labels = [2, 2] + [0, 1] * 30
    for seed in range(20):
        folds = dealt([f"text {i}" for i in range(62)], labels, k=5, seed=seed)
        assert folds[0] != folds[1]
        assert max(np.bincount(folds)) - min(np.bincount(folds)) <= 1


@pytest.mark.parametrize("folds", [None, 3])
@pytest.mark.parametrize("tags", [False, True])
def test_the_order_of_the_labels_changes_no_split(folds, tags, folder):
    names = ["10", "9", "b", "c"] if tags else ["10", "9", "2", "30"]
    cells = [f"{names[i % 4]}|{names[i % 3]}" if tags else names[(i * i) % 4 if i % 2 else i % 3] for i in range(90)]
    (folder / "train.csv").write_text("text,label\n" + "".join(f"text {i},{cell}\n" for i, cell in enumerate(cells)))

    def parts(**options):
        data = read(folder, **options)
        if folds is None:
            return data.splits["validation"]["id"][:]
        rows, problem_type = data.splits["train"], data.task.problem_type
        return assign_folds(rows, folds, 42, problem_type, label_order(data.task)).tolist()

    found = read(folder).task.label_names
    assert len(found) > 2
    assert (
        parts(labels=found[::-1], folds=folds)
        == parts(folds=folds)
        == parts(labels=found[1:] + found[:1], folds=folds)
    )


@pytest.mark.parametrize("numbers", [(0, 1), (0.25, 4)])
def test_the_order_of_the_label_columns_changes_no_split(numbers, folder):
    columns = ["hot", "wet", "dry"]
    rows = [
        [f"text {i}", *(numbers[i // 2**c % 2] * (1 + i % 3 * (numbers[1] > 1)) for c in range(3))] for i in range(96)
    ]
    (folder / "train.csv").write_text("\n".join(",".join(map(str, row)) for row in [["text", *columns], *rows]))
    first, other = (
        read(folder, label_column=order).splits["validation"]["id"][:] for order in (columns, columns[::-1])
    )
    assert first == other


def test_labels_in_their_usual_order_are_strata_as_they_stand():
    task = Task("multi-class", ["2", "9", "10"], ["label"])
    assert label_order(task) == [0, 1, 2]
    assert label_order(Task("multi-class", ["10", "9", "2"], ["label"])) == [2, 1, 0]
    assert strata_of([0, 1, 2], SINGLE_LABEL, [2, 1, 0]).tolist() == [2, 1, 0]
    # The places of a list are numbered by the data: naming them cannot change a split.
    assert label_order(Task("multi-label", ["z", "a"], ["label"], multi_hot=True)) is None
    assert label_order(Task("regression", ["vad_10", "vad_9"], ["vad"])) is None
