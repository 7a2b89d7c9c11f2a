"""Files of JSON: an object on each line, or one array of objects."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from bert_recipes.data.cells import can_be_written
from bert_recipes.data.text_files import encoding_of, open_text
from bert_recipes.errors import UserError, in_one_line

# The largest whole number up to which a float holds every one.
EXACT_IN_FLOAT = 2**53
LARGEST_INTEGER = 2**63 - 1


class JsonFile:
    """The rows of a file of JSON.

    Args:
        path: of the file.
        encoding: of one that is not UTF-8.

    Raises:
        UserError: now or while it is read: it is not text of that encoding, or not JSON.
    """

    def __init__(self, path: Path, encoding: str):
        self.path = path
        self.encoding = encoding_of(path, encoding)
        with open_text(path, self.encoding) as text:
            self.is_array = _first_character(text) == "["

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the objects, those of an array once the whole of it is read."""
        for place, row in self._array() if self.is_array else self._lines():
            if not isinstance(row, dict):
                what = f"row {place}, counted from 0," if self.is_array else f"line {place}"
                raise UserError(f"{self.path}: {what} is not a JSON object of columns and cells.")
            yield row

    def _lines(self) -> Iterator[tuple[int, Any]]:
        with open_text(self.path, self.encoding) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    try:
                        yield number, json.loads(line)
                    except (ValueError, RecursionError) as error:
                        raise UserError(
                            f"{self.path}: line {number} is not valid JSON ({_what(error)}): give an object with the "
                            "columns on each line, or one array of such objects."
                        ) from error

    def _array(self) -> Iterator[tuple[int, Any]]:
        with open_text(self.path, self.encoding) as text:
            try:
                rows = json.load(text)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{self.path} is not valid JSON: {in_one_line(error)}.") from error
        yield from enumerate(rows)


def _what(error: Exception) -> str:
    """Return what is wrong in a line of JSON, without the numbers of lines within it."""
    return f"{error.msg} at character {error.pos}" if isinstance(error, json.JSONDecodeError) else in_one_line(error)


def _first_character(text: Any) -> str:
    while piece := text.read(4096):
        if piece.strip():
            return str(piece.strip()[0])
    return ""


@dataclass
class Cells:
    """What the cells of a column are, seen one after the other.

    Attributes:
        kinds: the types among them, that of `None` left out.
        largest: the largest magnitude of the whole numbers.
        nested: the Arrow type of lists and objects.
        mixed: the number of the first row whose cell has another type than those before it, and the cell.
    """

    kinds: set[type] = field(default_factory=set)
    largest: int = 0
    nested: pa.DataType | None = None
    mixed: tuple[int, Any] | None = None

    def see(self, number: int, cell: Any) -> None:
        """Take in the cell of a row."""
        if cell is None:
            return
        kind = type(cell)
        if kind is int:
            self.largest = max(self.largest, abs(cell))
        if kind in (list, dict):
            self._see_nested(number, cell)
        elif kind is str and not can_be_written(cell):
            self.mixed = self.mixed or (number, cell)
        self.kinds.add(kind)
        if self.mixed is None and len(self.kinds) > 1 and not self.kinds <= {int, float}:
            self.mixed = (number, cell)

    def _see_nested(self, number: int, cell: Any) -> None:
        try:
            found = pa.array([cell]).type
            self.nested = found if self.nested is None else _common_type(self.nested, found)
        except (pa.ArrowException, UnicodeEncodeError, OverflowError):
            self.mixed = self.mixed or (number, cell)

    @property
    def type(self) -> pa.DataType:
        """The Arrow type that holds every cell, none of them changed."""
        if self.kinds <= {int}:
            return (
                pa.int64()
                if self.kinds and self.largest <= LARGEST_INTEGER
                else pa.string()
                if self.kinds
                else pa.null()
            )
        if self.kinds <= {int, float}:
            return pa.float64() if self.largest <= EXACT_IN_FLOAT else pa.string()
        if self.kinds <= {list, dict}:
            return self.nested
        return pa.bool_() if self.kinds == {bool} else pa.string()


def _common_type(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    if a.equals(b):
        return a
    fields = [pa.schema([("cell", kind)]) for kind in (a, b)]
    return pa.unify_schemas(fields, promote_options="permissive").field("cell").type


def json_schema(file: JsonFile) -> pa.Schema:
    """Read the whole file and return the types that hold every row.

    Raises:
        UserError: there are no rows, or the cells of a column are of types that have none in common.
    """
    columns: dict[str, Cells] = {}
    for number, row in enumerate(file.rows()):
        for name, cell in row.items():
            if name not in columns:
                if not can_be_written(name):
                    raise UserError(f"{file.path}: the name of column {name!r} cannot be written as text: rename it.")
                columns[name] = Cells()
            columns[name].see(number, cell)
    for name, cells in columns.items():
        if cells.mixed is not None:
            number, cell = cells.mixed
            wanted = "cannot be written as text" if isinstance(cell, str) and not can_be_written(cell) else None
            raise UserError(
                f"{file.path}: row {number}, counted from 0, has {_shortened(cell)} in '{name}', which "
                f"{wanted or 'is of another type than the cells before it'}: give the column cells of one type."
            )
    if not columns:
        raise UserError(f"{file.path} has no rows.")
    return pa.schema([(name, cells.type) for name, cells in columns.items()])


def _shortened(cell: Any) -> str:
    shown = repr(cell)
    return shown if len(shown) <= 80 else f"{shown[:80]}…"


def json_batch(rows: list[dict[str, Any]], schema: pa.Schema) -> pa.RecordBatch:
    """Return rows as a record batch of that schema, numbers digit by digit where its type is text."""
    columns = []
    for column in schema:
        cells = [row.get(column.name) for row in rows]
        if pa.types.is_string(column.type):
            cells = [cell if cell is None or isinstance(cell, str) else json.dumps(cell) for cell in cells]
        columns.append(pa.array(cells, column.type))
    return pa.record_batch(columns, schema=schema)
