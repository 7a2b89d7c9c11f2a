"""Errors beside what readers say of their labels."""

import csv

import numpy as np
from support.paths import ROOT

from benchmarks.disputed import HEADER, READERS, READINGS, RIGHT, WRONG, sample, table
from bert_recipes.reporting.documents import between_marks


class Rows:
    wrong = np.arange(1000) % 3 == 0


def test_as_many_wrong_rows_are_read_as_right_ones_are_not():
    places = sample(Rows)
    assert len(set(places)) == len(places) == WRONG + RIGHT
    assert Rows.wrong[places].sum() == WRONG
    assert sample(Rows) == places != sorted(places) != sample(Rows, seed=1)
    assert 0 < Rows.wrong[places[:50]].mean() < 1


def test_the_table_by_hand():
    wrong = np.array([True, True, True, True, False, False])
    labels = np.array([1, 1, 0, 0, 1, 0])
    readings = np.array([[0, 0], [1, 1], [0, 1], [1, 1], [1, 1], [0, 0]])
    found, said = table(wrong, labels, readings, 0.8).split("\n\n")
    header, _, first, second = [[cell.strip() for cell in line.strip("|").split("|")] for line in found.splitlines()]
    assert header == list(HEADER)
    assert first == ["has it wrong", "4", "25.0%", "25.0%", "50.0%", "10.0%"]
    assert second == ["has it right", "2", "100.0%", "0.0%", "0.0%", "0.0%"]
    # Of the four wrong rows the first reader agrees with the label in two, the second in one.
    assert said == "Accuracy by the labels: readers 0.900 and 0.850, the model 0.800."


def test_the_document_is_of_all_that_was_read():
    with READINGS.open(encoding="utf-8", newline="") as file:
        read = list(csv.DictReader(file))
    assert len({row["id"] for row in read}) == len(read) == WRONG + RIGHT
    assert {row[reader] for row in read for reader in READERS} == {"0", "1"}
    header, _, *lines = between_marks(ROOT / "docs/comparing.md", "disputed").split("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (header, *lines)]
    assert [line[:2] for line in cells] == [list(HEADER[:2]), ["has it wrong", "200"], ["has it right", "100"]]
