"""The rows to predict: from a file, from standard input, or from Python."""

import io
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from datasets import Dataset

from bert_recipes.data.column_guessing import Columns, find_input_columns, joined
from bert_recipes.data.in_memory import dataset_of
from bert_recipes.data.readers import READERS, id_text, open_table, text_decoder, text_lines, with_byte_order_mark
from bert_recipes.errors import UserError

TEXT_FILE = ".txt"


class TextRow(NamedTuple):
    """A row to predict: its id, its text and, for pairs, the second text."""

    id: str
    text: str
    text_pair: str | None = None


def read_stream(
    path: str,
    *,
    text_column: str | list[str] | None = None,
    text_pair_column: str | None = None,
    id_column: str | None = None,
    trained_on: Mapping[str, Any] | None = None,
    encoding: str = "utf-8",
) -> Iterator[TextRow]:
    """Yield the rows of a file, or of standard input for `-`, one after the other.

    Args:
        path: `.csv`, `.tsv`, `.jsonl` or `.parquet` with named columns; `.txt` or `-` with one text per line.
        text_column: its name, or several whose texts are joined; by default what `trained_on` says, where the file
            has it, or one of the usual names.
        text_pair_column: of the second text of a pair, likewise.
        id_column: likewise; where there is none, the rows' numbers, from 0, are their ids.
        trained_on: the configuration of the run that made the model.
        encoding: of a text file.

    Raises:
        UserError: the file or one of its rows cannot be read, or a column is missing.
    """
    if path == "-":
        return _numbered(_stdin_lines(encoding))
    file = Path(path).expanduser()
    if file.suffix not in (*READERS, TEXT_FILE):
        kinds = ", ".join((*READERS, TEXT_FILE))
        raise UserError(f"--input {path} is of no known kind: give a file that ends in {kinds}, or -.")
    if not file.is_file():
        raise UserError(f"--input {path}: there is no such file.")
    if file.suffix == TEXT_FILE:
        return _numbered(text_lines(file, encoding))
    table = open_table(file, encoding)
    columns = find_input_columns(
        table.schema.names,
        path,
        text=text_column,
        text_pair=text_pair_column,
        id=id_column,
        trained=_trained_columns(trained_on),
    )
    cells = (row for batch in table.batches() for row in batch.to_pylist())
    return _rows(cells, columns, path)


def rows_from_python(given: Any, trained_on: Mapping[str, Any] | None = None) -> Iterator[TextRow]:
    """Yield the rows that a program gives.

    Args:
        given: a text, a list of texts or of pairs of them, a Series of texts, a DataFrame or a `datasets.Dataset`.
        trained_on: the configuration of the run that made the model, whose columns are taken where there are such.

    Raises:
        UserError: it is something else, or a text is none.
    """
    if isinstance(given, str):
        given = [given]
    if isinstance(given, pd.DataFrame | Dataset):
        rows = dataset_of(given)
        columns = find_input_columns(rows.column_names, "the rows", trained=_trained_columns(trained_on))
        yield from _rows(iter(rows), columns, "the rows")
        return
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise UserError(
            f"predict takes a text, a list of texts or pairs, a DataFrame or a Dataset, not a {type(given).__name__}."
        )
    pairs = bool((trained_on or {}).get("text_pair_column"))
    for number, text in enumerate(given):
        parts = [text] if isinstance(text, str) else list(text) if isinstance(text, tuple | list) else []
        if len(parts) != 1 + pairs or not all(isinstance(part, str) for part in parts):
            wanted = "a pair of texts" if pairs else "a text"
            raise UserError(f"row {number}, counted from 0, is {text!r}: the model was trained on {wanted} each.")
        yield TextRow(str(number), *parts)


def _trained_columns(configuration: Mapping[str, Any] | None) -> dict[str, Any]:
    return {part: (configuration or {}).get(f"{part}_column") for part in ("text", "text_pair", "id")}


def _rows(cells: Iterator[dict[str, Any]], columns: Columns, source: str) -> Iterator[TextRow]:
    texts = [columns.text, *([[columns.text_pair]] if columns.text_pair else [])]
    for number, row in enumerate(cells):
        for name in itertools.chain(*texts):
            if not isinstance(row.get(name), str | None):
                raise UserError(
                    f"{source}: row {number}, counted from 0, has {row[name]!r} in '{name}', which is no text."
                )
        identifier = row.get(columns.id) if columns.id else number
        yield TextRow(id_text(identifier), *(joined([row.get(name) for name in names]) for names in texts))


def _numbered(lines: Iterator[str]) -> Iterator[TextRow]:
    for number, line in enumerate(lines):
        yield TextRow(str(number), line)


def _stdin_lines(encoding: str) -> Iterator[str]:
    text_decoder(encoding)
    lines = io.TextIOWrapper(sys.stdin.buffer, encoding=with_byte_order_mark(encoding))
    try:
        for line in lines:
            yield line.rstrip("\r\n")
    except UnicodeError as error:
        raise UserError(f"standard input is not {encoding} ({error}): name its encoding with --encoding.") from error
    finally:
        lines.detach()  # which would close it
