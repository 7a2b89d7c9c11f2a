"""Columns that a model takes beside the text: what train teaches of them, and how a cell is read."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
from datasets import Dataset

from bert_recipes.columns import RESERVED
from bert_recipes.data.cells import Known, as_number, column_number, is_empty, plain_text, unknown_cells
from bert_recipes.errors import UserError, some

# How files write that there is no number. In a column of texts any of them may be a name.
NO_NUMBER = {"nan", "na", "n/a", "null", "none", "inf", "-inf", "+inf", "infinity", "-infinity"}


def columns_to_choose_from(rows: Dataset) -> list[str]:
    """Return the columns of a split that play no other part, under the names that the data gave them."""
    return [name for name in rows.column_names if name not in RESERVED]


def learn_column(train: Dataset, name: str) -> Known:
    """Return what the training rows teach of a column.

    A column whose cells are numbers, or all spell out one, holds numbers; one of texts holds categories.

    Args:
        train: the rows.
        name: of the column.

    Raises:
        UserError: it holds neither, or nothing at all.
    """
    kind = train.data.schema.field(name).type
    if hasattr(train.features[name], "names") or not _is_plain(kind):
        shown = "the numbers of named classes" if hasattr(train.features[name], "names") else kind
        raise UserError(f"--classifier takes the column '{name}', which holds {shown}: make it texts or numbers.")
    texts: set[str] = set()
    count, total, numeric = 0, 0.0, True
    for cell in _cells(train, name):
        if is_empty(cell):
            continue
        texts.add(plain_text(cell))
        number = column_number(cell) if numeric else None
        if number is not None:
            count, total = count + 1, total + number
        elif as_number(cell) is None and str(cell).strip().lower() not in NO_NUMBER:
            numeric = False
    if not texts:
        raise UserError(f"--classifier takes the column '{name}', which is empty in every row of train: fill it in.")
    return {"mean": total / count} if numeric and count else {"categories": sorted(texts)}


def describe_column(name: str, known: Known, splits: Mapping[str, Dataset]) -> str:
    """Return a sentence on a column: what it holds, and in how many rows of each split the model cannot tell it.

    Raises:
        UserError: a split has no such column.
    """
    counts = {}
    for split, rows in splits.items():
        if name not in rows.column_names:
            raise UserError(
                f"--classifier takes the column '{name}', which {split} does not have; it has "
                f"{some(columns_to_choose_from(rows)) or 'none beside the texts'}."
            )
        counts[split] = unknown_cells(_cells(rows, name), known)
    rows_of = some([f"{count:,} row{'s' * (count > 1)} of {split}" for split, count in counts.items() if count])
    if "mean" in known:
        said = f"Column '{name}': numbers, as they are"
        gap = f"; {rows_of} without one, which take the mean of train, {known['mean']:.6g}"
    else:
        count = len(known["categories"])
        said = f"Column '{name}': {count:,} categor{'y' if count == 1 else 'ies'}, learned from train"
        gap = f"; {rows_of} without one of them, which take category 0"
    return f"{said}{gap if rows_of else ''}."


def _cells(rows: Dataset, name: str) -> Iterable[Any]:
    column = rows.select_columns([name])
    return (cell for batch in column.iter(10_000) for cell in batch[name])


def _is_plain(kind: pa.DataType) -> bool:
    types = pa.types
    tests = (types.is_string, types.is_large_string, types.is_null, types.is_boolean)
    return any(test(kind) for test in (*tests, types.is_integer, types.is_floating, types.is_decimal))
