"""One reader for each kind of file: training, prediction and the sample submission read the same cells from it.

A reader makes a `TableFile`: the schema first, then record batches one after the other, so that a file of any length
is read in constant memory. Cells of delimited text stay strings: an id "007" is not 7, and the text "NA" is not
missing.
"""

import bisect
import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bert_recipes.data.delimited import DELIMITERS, open_delimited
from bert_recipes.data.json_files import JsonFile, json_batch, json_schema
from bert_recipes.data.text_files import COMPRESSED, TextFormat, kind_of
from bert_recipes.errors import UserError, in_one_line

# A record batch ends with this many rows or characters.
BATCH_ROWS, BATCH_CHARACTERS = 4096, 2**24
# Deeper lists of lists overflow the stack of some library, and with it the process.
DEEPEST = 32
# What other programs write, and how to get from there to here.
ELSEWHERE = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save it as CSV UTF-8, or give br.train(dataset=pandas.read_excel(…))"),
    **dict.fromkeys((".pkl", ".pickle"), "a pickle can run code: write the rows with to_parquet"),
    **dict.fromkeys((".feather", ".arrow", ".orc"), "write the rows with to_parquet"),
    **dict.fromkeys((".rar", ".7z", ".tar", ".bz2", ".xz", ".zst"), "unpack it"),
}


@dataclass(frozen=True)
class TableFile:
    """A file of rows with named columns.

    Attributes:
        schema: names and types of its columns.
        batches: called to read it from the row of that number, counted from 0, to its end, as often as wanted; without
            a number all of it.
        note: what its reader found out about it that the user should know, as a sentence, or nothing.
        starts: the rows from which it can be read without reading those before: where a Parquet file's row groups
            begin.
        num_rows: how many rows it has, where that is known without reading them.
    """

    schema: pa.Schema
    batches: Callable[..., Iterator[pa.RecordBatch]]
    note: str = ""
    starts: Sequence[int] = (0,)
    num_rows: int | None = None


def open_table(path: Path, text_format: TextFormat | None = None) -> TableFile:
    """Open a file of rows with named columns.

    Args:
        path: it ends in one of `READERS`, perhaps with one of `COMPRESSED` after it.
        text_format: of a text file; by default UTF-8, with the delimiter that its name tells.

    Raises:
        UserError: now or while it is read: the kind of file is not known, or it cannot be read.
    """
    kind = kind_of(path)
    if kind not in READERS:
        cure = ELSEWHERE.get(kind) or f"give a file that ends in {', '.join(READERS)}"
        raise UserError(f"{path} is of a type that cannot be read: {cure}.")
    if kind == ".parquet" and path.suffix.lower() in COMPRESSED:
        raise UserError(f"{path} is compressed twice: unpack it.")
    if not os.access(path, os.R_OK):
        raise UserError(f"{path} cannot be read: check its permissions.")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty.")
    table = READERS[kind](path, text_format or TextFormat())
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


def _read_delimited(path: Path, text_format: TextFormat) -> TableFile:
    file = open_delimited(path, text_format)
    schema = pa.schema([(name, pa.string()) for name in file.names()])

    def batches(start: int = 0) -> Iterator[pa.RecordBatch]:
        rows = itertools.islice(file.rows(), start, None)
        for chunk in _chunks(rows, lambda cells: sum(map(len, cells))):
            columns = zip(*chunk, strict=True)
            yield pa.record_batch([pa.array(cells, pa.string()) for cells in columns], schema=schema)

    note = ""
    if file.quoting == "backslash" and text_format.quoting is None:
        note = f'{path.name}: quotation marks within quotes are written \\" there, and were read so.'
    return TableFile(schema, batches, note)


def _read_json(path: Path, text_format: TextFormat) -> TableFile:
    file = JsonFile(path, text_format.encoding)
    schema = json_schema(file)

    def batches(start: int = 0) -> Iterator[pa.RecordBatch]:
        for chunk in _chunks(itertools.islice(file.rows(), start, None), _characters):
            yield json_batch(chunk, schema)

    return TableFile(schema, batches)


def _characters(row: dict[str, Any]) -> int:
    return sum(len(cell) for cell in row.values() if isinstance(cell, str))


def _chunks(rows: Iterator[Any], size: Callable[[Any], int]) -> Iterator[list[Any]]:
    chunk, characters = [], 0
    for row in rows:
        chunk.append(row)
        characters += size(row)
        if len(chunk) == BATCH_ROWS or characters >= BATCH_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _read_parquet(path: Path, text_format: TextFormat) -> TableFile:
    with _read_as_parquet(path):
        with pq.ParquetFile(path) as file:
            schema, groups = file.schema_arrow, file.metadata.num_row_groups
            sizes = [file.metadata.row_group(group).num_rows for group in range(groups)]
        plain = pa.schema([(field.name, _plain(field.type)) for field in schema], schema.metadata)
    *starts, num_rows = itertools.accumulate(sizes, initial=0)

    def batches(start: int = 0) -> Iterator[pa.RecordBatch]:
        group = max(0, bisect.bisect_right(starts, start) - 1)
        skipped = start - starts[group] if starts else 0
        with _read_as_parquet(path), pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH_ROWS, row_groups=range(group, len(starts))):
                if skipped and skipped >= len(batch):
                    skipped -= len(batch)
                    continue
                batch, skipped = batch.slice(skipped), 0
                batch.validate(full=True)  # a string may hold any bytes
                columns = [_as_plain(column, field.type) for column, field in zip(batch.columns, plain, strict=True)]
                yield pa.record_batch(columns, schema=plain)

    return TableFile(plain, batches, starts=starts or (0,), num_rows=num_rows)


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


READERS: dict[str, Callable[[Path, TextFormat], TableFile]] = {
    **dict.fromkeys(DELIMITERS, _read_delimited),
    **dict.fromkeys((".jsonl", ".json", ".ndjson"), _read_json),
    ".parquet": _read_parquet,
}
