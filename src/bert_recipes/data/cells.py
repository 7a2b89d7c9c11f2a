"""What one cell says, whichever kind of file it stood in: labels and ids are spelled by the same rule."""

import bisect
import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

# Longer ones Python refuses to read, and no label is a number of a thousand digits.
WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,1000}")

# What a model's float32 can hold. Beyond it stands what some programs write for "no number", such as 1.8e308.
LARGEST = float(np.finfo(np.float32).max)

# A number with a decimal comma; 1.234,5 is none, whose point would be taken for the decimal one.
DECIMAL_COMMA = re.compile(r"^(\s*[+-]?[0-9]*),([0-9]+(?:[eE][+-]?[0-9]+)?\s*)$")

# What is known of a column that a model takes beside the text: the sorted `categories` of texts, or the `mean` of
# numbers.
Known = dict[str, Any]


def plain_text(cell: Any) -> str:
    """Return a cell as text; a whole float without its point and exponent, so that 1.8e19 keeps its digits."""
    if isinstance(cell, float | Decimal) and math.isfinite(cell) and cell == int(cell):
        return str(int(cell))
    return str(cell)


def id_text(cell: Any) -> str:
    """Return the text of an id, however its file has typed it."""
    return plain_text(cell)


def can_be_written(text: str) -> bool:
    """Whether a text is one in UTF-8: Python's may hold half of a pair of surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_empty(cell: Any) -> bool:
    """Whether a cell holds nothing: None, NaN or blanks."""
    return cell is None or (isinstance(cell, float) and math.isnan(cell)) or not str(cell).strip()


def is_integer(text: str) -> bool:
    """Whether `text` spells out a whole number."""
    return WHOLE_NUMBER.fullmatch(text) is not None


def as_number(cell: Any) -> float | None:
    """Return the finite number that a cell is or spells out, with `true` for 1 and `false` for 0, or None."""
    if isinstance(cell, str):
        if cell.strip().lower() in ("true", "false"):
            return float(cell.strip().lower() == "true")
        if "_" in cell:  # which Python takes as a thousands separator, and a file as part of a name
            return None
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def column_number(cell: Any) -> float | None:
    """As `as_number`, in a column that a model takes: None also for what float32 would make infinite."""
    number = as_number(cell)
    return None if number is None or abs(number) > LARGEST else number


def with_decimal_point(cell: Any) -> Any:
    """Return a cell that spells out a number with a decimal comma with a point, and any other as it is."""
    return DECIMAL_COMMA.sub(r"\1.\2", cell) if isinstance(cell, str) else cell


def in_order(names: Iterable[str]) -> list[str]:
    """Return names of labels in their usual order: whole numbers by their size, anything else by the alphabet."""
    names = sorted(names)
    return sorted(names, key=int) if all(map(is_integer, names)) else names


def read_cells(cells: Iterable[Any], known: Known) -> list[Any]:
    """Return cells as numbers or as texts, by what train has of their column; None where there is none."""
    if "mean" in known:
        return [column_number(cell) for cell in cells]
    return [None if is_empty(cell) else plain_text(cell) for cell in cells]


def unknown_cells(cells: Iterable[Any], known: Known) -> int:
    """Return of how many cells the model cannot tell what they are: there is none, or one that train does not have."""
    categories = set(known.get("categories", ()))
    return sum(cell is None or (bool(categories) and cell not in categories) for cell in read_cells(cells, known))


def encode_column(cells: Sequence[Any], known: Known) -> np.ndarray:
    """Return what a model takes of a column, `[rows]`: float32 of numbers, int64 of categories, of which 0 is unknown.

    `OwnClassifierConfig.encode_columns` is the same for those who have the model and not this project.
    """
    read = read_cells(cells, known)
    if "mean" in known:
        return np.array([known["mean"] if cell is None else cell for cell in read], dtype=np.float32)
    categories = known["categories"]
    places = [len(categories) if cell is None else bisect.bisect_left(categories, cell) for cell in read]
    found = [place < len(categories) and categories[place] == cell for place, cell in zip(places, read, strict=True)]
    return np.array([place + 1 if there else 0 for place, there in zip(places, found, strict=True)], dtype=np.int64)
