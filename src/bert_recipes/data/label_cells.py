"""One cell of a label column at a time: as text, as a number, as a list of labels."""

import ast
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset

from bert_recipes.data.cells import as_number, plain_text, with_decimal_point
from bert_recipes.errors import UserError, some

# How pandas writes a whole number in a column that has an empty cell.
WHOLE_WITH_POINT = re.compile(r"(0|-?[1-9][0-9]*)\.0")

NO_TEST_LABELS = "where the labels of test are placeholders, --no_test_labels leaves them out"


@dataclass(frozen=True)
class Where:
    """Where the rows at hand come from, for the sentence of an error."""

    rows: Dataset
    split: str
    source: str
    id_column: str | None

    def which(self, numbers: Sequence[int] | np.ndarray) -> str:
        """Name the rows with these numbers by their ids, or by the numbers where there is no id column."""
        numbers = np.asarray(numbers)
        if self.id_column is None:
            found = f"number {some(numbers.tolist())}, counted from 0"
        else:
            found = f"id {some(self.rows.select(numbers[:6])[self.id_column][:], len(numbers))}"
        return f"{len(numbers)} row{'s' if len(numbers) > 1 else ''} ({found})"

    @property
    def cure(self) -> str:
        """What else can be done about labels that do not fit: nothing, unless they are those of test."""
        return f"; {NO_TEST_LABELS}" if self.split == "test" else ""


def as_text(cell: Any) -> str:
    """One spelling for one label, however the file wrote it: 1, "1", 1.0 and "1.0" are "1".

    Only where nothing is lost: "01", "1e3", "+1", "1_1" and "1.50" are names of their own.
    """
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    text = plain_text(cell).strip()
    whole = WHOLE_WITH_POINT.fullmatch(text)
    return whole[1] if whole else text


def with_decimal_points(rows: Dataset, columns: list[str]) -> Dataset:
    """Return rows whose numbers with a decimal comma, in columns of text, have a decimal point."""
    columns = [name for name in columns if name in rows.column_names and _is_text(_kind(rows, name))]

    def rewritten(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
        return {name: [*map(with_decimal_point, batch[name])] for name in columns}

    return rows.map(rewritten, batched=True) if columns else rows


def as_list(cell: Any) -> list[Any] | None:
    """Return the list that a cell is or, as text, spells out, or None."""
    if isinstance(cell, list):
        return cell
    if not isinstance(cell, str) or not cell.strip().startswith("["):
        return None
    try:
        found = ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    return found if isinstance(found, list) else None


def is_list_column(rows: Dataset, column: str) -> bool:
    """Whether a column holds lists as such, not as text."""
    kind = _kind(rows, column)
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _kind(rows: Dataset, column: str) -> pa.DataType:
    return rows.data.schema.field(column).type


def class_text(cell: Any, feature: Any) -> str:
    """Return the class that a cell names, whose column may have the names of its classes; empty for none."""
    if not hasattr(feature, "names"):
        return as_text(cell)
    if cell is None or cell == -1:  # how a data set says that there is none
        return ""
    return feature.int2str(cell) if 0 <= cell < feature.num_classes else f"{cell} (out of range)"


def labels_in(cell: Any, delimiter: str | None, feature: Any, where: Where, column: str, number: int) -> list[str]:
    """Return the labels in one cell of a multi-label column: none in an empty one."""
    if cell is None:
        return []
    listed = as_list(cell)
    if listed is None:
        text = as_text(cell)
        if text.startswith("["):
            raise UserError(not_labels(cell, where, column, number))
        return [as_text(part) for part in (text.split(delimiter) if delimiter else [text]) if part.strip()]
    names = getattr(getattr(feature, "feature", None), "names", None)
    if any(part is None or isinstance(part, list | dict | tuple | set) for part in listed):
        raise UserError(not_labels(cell, where, column, number))
    if names and not all(0 <= part < len(names) for part in listed):
        raise UserError(
            f"{where.source}: {where.split} has a label out of range, {listed} in {where.which([number])}: the "
            f"{len(names)} labels are 0 to {len(names) - 1}{where.cure}."
        )
    return [names[part] if names else as_text(part) for part in listed]


def not_labels(cell: Any, where: Where, column: str, number: int) -> str:
    """Return the sentence for a cell that is no list of labels."""
    return (
        f"{where.source}: the label cell {cell!r} in {where.which([number])} of {where.split} is no list of labels: "
        f'write \'{column}\' as ["a", "b"] or as a|b{where.cure}.'
    )


def is_all_empty(where: Where, column: str) -> bool:
    """Whether no cell of a column holds a label."""
    if is_list_column(where.rows, column):
        return not any(cell for batch in where.rows.select_columns([column]).iter(10_000) for cell in batch[column])
    feature = where.rows.features[column]
    return {class_text(cell, feature) for cell in where.rows.unique(column)} == {""}


def refuse_empty(where: Where, column: str) -> None:
    """Raise `UserError` where a cell of a column is empty."""
    feature = where.rows.features[column]
    if is_list_column(where.rows, column):
        cells = (cell for batch in where.rows.select_columns([column]).iter(10_000) for cell in batch[column])
        empty = [number for number, cell in enumerate(cells) if not cell]
    elif any(class_text(cell, feature) == "" for cell in where.rows.unique(column)):
        empty = [number for number, cell in enumerate(where.rows[column]) if class_text(cell, feature) == ""]
    else:
        empty = []
    if len(empty):
        raise UserError(
            f"{where.source}: the label column '{column}' is empty in {where.which(empty)} of {where.split}: "
            f"fill in or remove{where.cure}."
        )


@dataclass(frozen=True)
class NumberLists:
    """What the lists of numbers in a column are like: their length, and what they hold.

    Attributes:
        length: of the first one.
        binary: whether all are of that length and hold 0 and 1 alone.
        one_hot: whether each of these holds 1 once.
    """

    length: int
    binary: bool
    one_hot: bool


def number_lists_in(where: Where, column: str) -> NumberLists | None:
    """Return what lists of numbers a column holds, or None if it holds anything else.

    Lists of whole numbers are ids of labels rather than targets, unless all are of one length and hold 0 and 1 alone.
    """
    lengths, binary, one_hot, whole = [], True, True, True
    for batch in where.rows.select_columns([column]).iter(10_000):
        for cell in batch[column]:
            values = as_list(cell)
            if not values:
                # A row without a list is an error of its own, and one with an empty list has no numbers.
                if values is None and not (cell is None or str(cell).strip().startswith("[")):
                    return None
                one_hot = False
                continue
            numbers = [as_number(value) for value in values if not isinstance(value, str)]
            if len(numbers) != len(values) or None in numbers:
                return None
            lengths.append(len(values))
            binary &= set(numbers) <= {0.0, 1.0}
            one_hot &= numbers.count(1.0) == 1
            whole &= all(isinstance(value, int) for value in values)
    binary &= bool(lengths) and min(lengths) == max(lengths)
    return NumberLists(lengths[0], binary, binary and one_hot) if binary or not whole else None
