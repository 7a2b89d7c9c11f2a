"""What one cell says, whichever kind of file it stood in: labels and ids are spelled by the same rule."""

import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

# Longer ones Python refuses to read, and no label is a number of a thousand digits.
WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,1000}")


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


def in_order(names: Iterable[str]) -> list[str]:
    """Return names of labels in their usual order: whole numbers by their size, anything else by the alphabet."""
    names = sorted(names)
    return sorted(names, key=int) if all(map(is_integer, names)) else names
