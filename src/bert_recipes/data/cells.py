"""What one cell says, whichever kind of file it stood in: labels and ids are spelled by the same rule."""

import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

# Longer ones Python refuses to read, and no label is a number of a thousand digits.
WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,1000}")

# A number with a decimal comma; 1.234,5 is none, whose point would be taken for the decimal one.
DECIMAL_COMMA = re.compile(r"^(\s*[+-]?[0-9]*),([0-9]+(?:[eE][+-]?[0-9]+)?\s*)$")


def plain_text(cell: Any) -> str:
    """Return a cell as text; a whole float without its point and exponent, so that 1.8e19 keeps its digits."""
    if isinstance(cell, float | Decimal) and math.isfinite(cell) and cell == int(cell):
        return str(int(cell))
    return str(cell)


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


def with_decimal_point(cell: Any) -> Any:
    """Return a cell that spells out a number with a decimal comma with a point, and any other as it is."""
    return DECIMAL_COMMA.sub(r"\1.\2", cell) if isinstance(cell, str) else cell


def in_order(names: Iterable[str]) -> list[str]:
    """Return names of labels in their usual order: whole numbers by their size, anything else by the alphabet."""
    names = sorted(names)
    return sorted(names, key=int) if all(map(is_integer, names)) else names
