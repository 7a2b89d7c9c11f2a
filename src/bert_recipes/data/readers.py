"""One reader for each kind of file: training, prediction and the sample submission read the same cells from it.

A reader makes a `TableFile`: the schema first, then record batches one after the other, so that a file of any length
is read in constant memory. Cells of `.csv` and `.tsv` stay strings: an id "007" is not 7, and the text "NA" is not
missing.
"""

import codecs
import contextlib
import csv
import itertools
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bert_recipes.errors import UserError, in_one_line

# Rows read at once.
BATCH_ROWS = 4096
# Deeper lists of lists overflow the stack of some library, and with it the process.
DEEPEST = 32
# The csv module's own limit is 128 KiB a cell.
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True)
class TableFile:
    """A file of rows with named columns.

    Attributes:
        schema: names and types of its columns.
        batches: called to read it from its beginning, as often as wanted.
    """

    schema: pa.Schema
    batches: Callable[[], Iterator[pa.RecordBatch]]


def open_table(path: Path, encoding: str = "utf-8") -> TableFile:
    """Open a file of rows with named columns.

    Args:
        path: it ends in one of `READERS`.
        encoding: of a text file.

    Raises:
        UserError: now or while it is read: the kind of file is not known, or it cannot be read.
    """
    kind = path.suffix
    if kind not in READERS:
        raise UserError(f"{path} is of no known kind: give a file that ends in {', '.join(READERS)}.")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path} cannot be read: check its permissions.")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty.")
    if kind != ".parquet":
        check_encoding(path, encoding)
    table = READERS[kind](path, encoding)
    for field in table.schema:
        if _depth(field.type) > DEEPEST:
            raise UserError(f"{path}: the cells of '{field.name}' are nested more than {DEEPEST} levels deep.")
    return table


def _depth(kind: pa.DataType) -> int:
    """Return how many types stand within one another, counted without a recursion of its own."""
    deepest, open_types = 0, [(kind, 1)]
    while open_types:
        kind, depth = open_types.pop()
        deepest = max(deepest, depth)
        open_types += [(kind.field(i).type, depth + 1) for i in range(kind.num_fields)]
    return deepest


def id_text(cell: Any) -> str:
    """Return the text of an id, however its file has typed it."""
    return str(cell)


def with_byte_order_mark(encoding: str) -> str:
    """Return the encoding that reads a file of `encoding` whether or not a byte order mark begins it."""
    return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding


def text_decoder(encoding: str) -> codecs.IncrementalDecoder:
    """Return what makes text of bytes.

    Raises:
        UserError: there is no encoding of that name, or it is none of text.
    """
    try:
        "".encode(encoding)  # not of rot13 or base64
        return codecs.getincrementaldecoder(encoding)()
    except (LookupError, ValueError) as error:
        raise UserError(f"there is no encoding '{encoding}': try --encoding latin-1 or cp1252.") from error


def check_encoding(path: Path, encoding: str) -> None:
    """Read a text file once, to tell where it is not what `encoding` says.

    Raises:
        UserError: the encoding is unknown, a byte cannot be decoded, or the file has NUL bytes.
    """
    decoder = text_decoder(encoding)
    offset = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                raise UserError(
                    f"{path} is not {encoding}: byte {offset - pending + error.start} cannot be decoded; "
                    "name its encoding, as in --encoding latin-1."
                ) from error
            except UnicodeError as error:  # of UTF-16 without the mark at its beginning
                raise UserError(
                    f"{path} is not {encoding} ({error}): name its encoding, as in --encoding latin-1."
                ) from error
            nul = -1 if "16" in encoding or "32" in encoding else chunk.find(b"\0")
            if nul >= 0:
                raise UserError(f"{path} has a NUL byte at byte {offset + nul}: it is damaged or no text file.")
            offset += len(chunk)
    try:
        decoder.decode(b"", final=True)
    except UnicodeError as error:
        raise UserError(f"{path} is not {encoding}: it ends within a character, at byte {offset}.") from error


# Delimited text


def read_header(path: Path, encoding: str, delimiter: str = ",") -> list[str]:
    """Return the names in the first line of a delimited file.

    Raises:
        UserError: a name is there twice, or there is no line below.
    """
    with path.open(encoding=with_byte_order_mark(encoding), newline="") as file:
        rows = _csv_rows(path, file, delimiter)
        names = next(rows, [])
        if next(rows, None) is None:
            raise UserError(f"{path} has a header and no rows.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{path} has more than one column named '{twice[0]}': rename all but one.")
    return names


def _csv_rows(path: Path, file: Any, delimiter: str) -> Iterator[list[str]]:
    """Yield the rows that are not empty; those that have not as many cells as the first are an error."""
    reader = csv.reader(file, delimiter=delimiter, strict=True)
    width = None
    try:
        for cells in reader:
            if not cells:
                continue
            width = width or len(cells)
            if len(cells) != width:
                raise UserError(
                    f"{path} cannot be read as {path.suffix[1:]}: line {reader.line_num} ends a row of {len(cells)} "
                    f"cells, and the header names {width}: mend it."
                )
            yield cells
    except csv.Error as error:
        raise UserError(
            f"{path} cannot be read as {path.suffix[1:]}: line {reader.line_num}: {error}; a quotation mark that is "
            'part of a text is written twice, as in "a ""good"" day".'
        ) from error


def _delimited(delimiter: str) -> Callable[[Path, str], TableFile]:
    def open_delimited(path: Path, encoding: str) -> TableFile:
        schema = pa.schema([(name, pa.string()) for name in read_header(path, encoding, delimiter)])

        def batches() -> Iterator[pa.RecordBatch]:
            with path.open(encoding=with_byte_order_mark(encoding), newline="") as file:
                rows = itertools.islice(_csv_rows(path, file, delimiter), 1, None)
                for chunk in _chunks(rows):
                    columns = zip(*chunk, strict=True)
                    yield pa.record_batch([pa.array(cells, pa.string()) for cells in columns], schema=schema)

        return TableFile(schema, batches)

    return open_delimited


def _chunks(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while chunk := list(itertools.islice(rows, BATCH_ROWS)):
        yield chunk


# JSON lines


def _open_json_lines(path: Path, encoding: str) -> TableFile:
    schema = _json_schema(path, encoding)

    def batches() -> Iterator[pa.RecordBatch]:
        for rows in _chunks(_json_rows(path, encoding)):
            columns = [_json_column([row.get(field.name) for row in rows], field.type) for field in schema]
            yield pa.record_batch(columns, schema=schema)

    return TableFile(schema, batches)


def _json_rows(path: Path, encoding: str) -> Iterator[dict[str, Any]]:
    with path.open(encoding=with_byte_order_mark(encoding)) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                line.encode()
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path} cannot be read as jsonl: line {number} is no JSON ({error}).") from error
            if not isinstance(row, dict):
                raise UserError(
                    f"{path} cannot be read as jsonl: line {number} is no JSON object of columns and cells."
                )
            yield row


def _json_schema(path: Path, encoding: str) -> pa.Schema:
    """Return the types that hold every row."""
    types: dict[str, pa.DataType] = {}
    number = 0
    for rows in _chunks(_json_rows(path, encoding)):
        for name in dict.fromkeys(name for row in rows for name in row):
            _check_name(path, name)
            cells = [row.get(name) for row in rows]
            try:
                found = pa.array(cells).type
                types[name] = _common_type(types[name], found) if name in types else found
            except OverflowError:
                types[name] = pa.string()  # numbers of more digits than any type of Arrow's has
            except (pa.ArrowException, UnicodeEncodeError) as error:
                raise _unlike_cells(path, name, cells, types.get(name), number) from error
        number += len(rows)
    if not types:
        raise UserError(f"{path} is empty.")
    return pa.schema(list(types.items()))


def _check_name(path: Path, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{path}: the name of column {name!r} is no text that can be written: rename it.") from error


def _common_type(a: pa.DataType, b: pa.DataType) -> pa.DataType:
    if a.equals(b):
        return a
    fields = [pa.schema([("cell", kind)]) for kind in (a, b)]
    return pa.unify_schemas(fields, promote_options="permissive").field("cell").type


def _unlike_cells(path: Path, name: str, cells: list[Any], before: pa.DataType | None, first: int) -> UserError:
    """Return the sentence for the first cell that has not the type of those before it."""
    kind = before
    for number, cell in enumerate(cells, first):
        try:
            found = pa.array([cell]).type
            kind = found if kind is None else _common_type(kind, found)
        except (pa.ArrowException, UnicodeEncodeError, OverflowError):
            wanted = "is no text that can be written" if isinstance(cell, str) else f"and others are of type {kind}"
            return UserError(
                f"{path} cannot be read as jsonl: row {number}, counted from 0, has {cell!r} in '{name}', {wanted}: "
                "give the column cells of one type."
            )
    return UserError(f"{path} cannot be read as jsonl: the cells of '{name}' are of several types.")


def _json_column(cells: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(kind):
        cells = [cell if cell is None or isinstance(cell, str) else json.dumps(cell) for cell in cells]
    return pa.array(cells, kind)


# Parquet


def _open_parquet(path: Path, encoding: str) -> TableFile:
    with _read_as_parquet(path):
        schema = pq.read_schema(path)
        plain = pa.schema([(field.name, _plain(field.type)) for field in schema], schema.metadata)

    def batches() -> Iterator[pa.RecordBatch]:
        with _read_as_parquet(path), pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS):
                batch.validate(full=True)  # a string may hold any bytes
                columns = [_as_plain(column, field.type) for column, field in zip(batch.columns, plain, strict=True)]
                yield pa.record_batch(columns, schema=plain)

    return TableFile(plain, batches)


@contextlib.contextmanager
def _read_as_parquet(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise UserError(f"{path} cannot be read as parquet: {in_one_line(error)}") from error


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type of the same cells that every function of Arrow's knows."""
    while isinstance(kind, pa.BaseExtensionType | pa.DictionaryType):
        kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind.value_type
    return {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}.get(kind, kind)


def _as_plain(column: pa.Array, kind: pa.DataType) -> pa.Array:
    while isinstance(column, pa.ExtensionArray):
        column = column.storage
    return column if column.type.equals(kind) else column.cast(kind)


READERS: dict[str, Callable[[Path, str], TableFile]] = {
    ".csv": _delimited(","),
    ".tsv": _delimited("\t"),
    ".jsonl": _open_json_lines,
    ".parquet": _open_parquet,
}


# Text, one on each line


def text_lines(path: Path, encoding: str) -> Iterator[str]:
    """Yield the lines of a text file, without their ends.

    Raises:
        UserError: it is not text of that encoding.
    """
    check_encoding(path, encoding)
    with path.open(encoding=with_byte_order_mark(encoding)) as lines:
        for line in lines:
            yield line.rstrip("\r\n")
