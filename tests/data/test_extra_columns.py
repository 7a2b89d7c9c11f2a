"""What train teaches of a column, and how cells are read by it."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from bert_recipes.data.cells import encode_column, read_cells, unknown_cells
from bert_recipes.data.extra_columns import describe_column, learn_column
from bert_recipes.errors import UserError


def rows(cells):
    return Dataset.from_dict({"x": cells, "id": [str(i) for i in range(len(cells))]})


@pytest.mark.parametrize(
    ("cells", "known"),
    [
        (["storm", "", None, "fire", " ", "fire"], {"categories": ["fire", "storm"]}),
        (["1.5", "", "2", "-0.5", None], {"mean": 1.0}),  # a CSV file has texts alone
        ([1, None, 4], {"mean": 2.5}),
        ([True, False], {"mean": 0.5}),
        ([0.5, float("nan")], {"mean": 0.5}),
        (["1", "NaN", "2", "n/a"], {"mean": 1.5}),
        (["1", "2b", "NA"], {"categories": ["1", "2b", "NA"]}),
        (["1", "inf", "3", "-Infinity"], {"mean": 2.0}),
        ([1.0, float("inf"), 1.8e308, -float("inf"), 3.0], {"mean": 2.0}),
        (["1", "3", "-1e39"], {"mean": 2.0}),
        (["none", "none"], {"categories": ["none"]}),
    ],
)
def test_numbers_are_numbers_and_texts_are_categories(cells, known):
    assert learn_column(rows(cells), "x") == known


def test_cells_are_read_alike_whatever_the_file_made_of_them():
    assert read_cells(["7", 7, 7.0, "7a", " ", None, float("nan")], {"categories": ["7"]}) == [
        *("7", "7", "7", "7a"),
        *(None, None, None),
    ]
    assert read_cells(["7", 7, "x", "", None, float("nan"), True], {"mean": 0.0}) == [7.0, 7.0, *[None] * 4, 1.0]


@pytest.mark.parametrize("cell", [1e39, "-1e39", "1.8e308", float("inf"), "inf", 10**400])
def test_what_a_model_would_take_for_infinite_is_no_number(cell):
    known = {"mean": 2.5}
    assert encode_column([cell, 3e38], known).tolist() == [2.5, np.float32(3e38)]
    assert unknown_cells([cell, 3e38], known) == 1


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["", None], "is empty in every row of train"),
        ([[1], [2]], "holds list"),
    ],
)
def test_a_column_that_holds_neither_is_one_sentence(cells, said):
    with pytest.raises(UserError, match=f"column 'x', which {said}"):
        learn_column(rows(cells), "x")


def test_numbers_of_named_classes_are_no_numbers():
    labelled = Dataset.from_dict({"x": [0, 1]}, features=Features({"x": ClassLabel(names=["a", "b"])}))
    with pytest.raises(UserError, match="holds the numbers of named classes"):
        learn_column(labelled, "x")


def test_rows_that_say_nothing_are_counted():
    train, other = rows(["a", "b", ""]), rows(["a", "c", None, "c"])
    known = learn_column(train, "x")
    assert describe_column("x", known, {"train": train, "test": other}) == (
        "Column 'x': 2 categories, learned from train; 1 row of train, 3 rows of test without one of them, which take "
        "category 0."
    )
    one = rows(["a", "a"])
    assert (
        describe_column("x", learn_column(one, "x"), {"train": one}) == "Column 'x': 1 category, learned from train."
    )
    assert describe_column("x", known, {"train": rows(["a"])}) == "Column 'x': 2 categories, learned from train."
    numbers = rows([1, 2])
    assert describe_column("x", learn_column(numbers, "x"), {"train": numbers, "test": rows(["1", "?"])}) == (
        "Column 'x': numbers, as they are; 1 row of test without one, which take the mean of train, 1.5."
    )
    bare = Dataset.from_dict(
        {"id": ["1"], "y": ["a"]}, features=Features({"id": Value("string"), "y": Value("string")})
    )
    with pytest.raises(UserError, match="column 'x', which test does not have; it has y"):
        describe_column("x", known, {"train": train, "test": bare})
