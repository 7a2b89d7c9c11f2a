"""Numbers are read as numbers only where nothing is lost."""

from decimal import Decimal

import pytest

from bert_recipes.data.cells import as_number, encode_column, in_order, is_integer, plain_text, read_cells
from bert_recipes.data.label_cells import as_text
from bert_recipes.modeling.wrapper import OwnClassifierConfig


@pytest.mark.parametrize("cell", [1, 1.0, "1", "1.0", " 1 ", Decimal("1.00")])
def test_one_label_has_one_spelling(cell):
    assert as_text(cell) == "1"


@pytest.mark.parametrize(
    "text", ["01", "011", "1_1", "1e3", "+1", "1.50", "1.00", "01.0", "-0.0", ".0", "1.", "0x10", "NA", "nan", "inf"]
)
def test_what_is_more_than_a_number_stays_as_it_is_spelled(text):
    assert as_text(text) == text


def test_digits_beyond_a_float_are_kept():
    assert as_text("9007199254740993") == as_text("9007199254740993.0") == as_text(2**53 + 1) == "9007199254740993"
    assert as_text("1" * 400) == "1" * 400
    assert plain_text(1.8e19) == "18000000000000000000"
    assert plain_text(-0.0) == "0"


def test_empty_cells_and_other_values():
    assert as_text(None) == as_text(float("nan")) == as_text("  ") == ""
    assert [plain_text(cell) for cell in (True, 0.5, float("inf"), None)] == ["True", "0.5", "inf", "None"]


@pytest.mark.parametrize(
    ("cell", "number"),
    [("1_1", None), (10**400, None), ("1e400", None), ("nan", None), ("true", 1.0), ("1e3", 1000.0), (" -2 ", -2.0)],
)
def test_what_is_a_number(cell, number):
    assert as_number(cell) == number


def test_names_stand_in_the_order_of_their_numbers():
    assert in_order({"10", "2", "-1", "01", "1"}) == ["-1", "01", "1", "2", "10"]
    assert in_order({"10", "2", "b"}) == ["10", "2", "b"]
    assert not any(map(is_integer, ("1_1", "1.0", "", "1" * 5000)))


@pytest.mark.parametrize("known", [{"categories": ["a", "b", "ñ"]}, {"categories": []}, {"mean": 2.5}])
def test_columns_are_encoded_as_by_the_file_that_travels_with_a_model(known):
    cells = ["a", "b", "ñ", "A", "", None, "7", 7, 7.5, True, float("nan"), "nan", 1e300, "-1e300"]
    found = encode_column(cells, known)
    read = {"x": read_cells(cells, known)}
    expected = OwnClassifierConfig(columns={"x": known}).encode_columns(read)["x"].numpy()
    assert found.dtype == expected.dtype
    assert found.tolist() == expected.tolist()
