"""The rows to predict: from a file, from standard input, or from Python."""

import contextlib
import io
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bert_recipes.data.cells import id_text
from bert_recipes.data.column_guessing import Columns, find_input_columns, joined
from bert_recipes.data.delimited import DELIMITERS
from bert_recipes.data.in_memory import dataset_of, is_dataset, is_frame, table_of
from bert_recipes.data.saved_to_disk import is_saved_to_disk, read_from_disk
from bert_recipes.data.text_files import (
    NAMED_DELIMITERS,
    TextFormat,
    encoding_of,
    is_wide,
    kind_of,
    open_text,
    text_lines,
)
from bert_recipes.errors import UserError, some

if TYPE_CHECKING:
    import pyarrow as pa

# A text on each line, unless the first line names the text's column.
TEXT_FILE = ".txt"
# Of a frame, as Python's own objects.
ROWS_AT_ONCE = 4096


class TextRow(NamedTuple):
    """A row to predict: its id, its text, for pairs the second text, and all its cells where they have names."""

    id: str
    text: str
    text_pair: str | None = None
    cells: Mapping[str, Any] | None = None


def read_stream(
    path: str,
    *,
    text_column: str | list[str] | None = None,
    text_pair_column: str | None = None,
    id_column: str | None = None,
    trained_on: Mapping[str, Any] | None = None,
    text_format: TextFormat | None = None,
) -> Iterator[TextRow]:
    """Yield the rows of a file, of a `save_to_disk` folder, or of standard input for `-`, one after the other.

    Args:
        path: rows with named columns, as training takes them; `.txt` without the text's column, or `-`, has one text
            on each line.
        text_column: its name, or several whose texts are joined; by default what `trained_on` says, where the file
            has it, or one of the usual names.
        text_pair_column: of the second text of a pair, likewise.
        id_column: likewise; where there is none, the rows' numbers, from 0, are their ids.
        trained_on: the configuration of the run that made the model.
        text_format: of a text file; by default that of `trained_on`.

    Raises:
        UserError: the file or one of its rows cannot be read, or a column is missing.
    """
    text_format = text_format or TextFormat.of(trained_on or {})
    trained = _trained_columns(trained_on)
    if path == "-":
        _refuse_pairs("standard input", trained_on)
        return _numbered(_without_header(_stdin_lines(text_format.encoding), text_column or trained["text"]))
    file = Path(path).expanduser()
    asked: dict[str, Any] = {"text": text_column, "text_pair": text_pair_column, "id": id_column}
    if is_saved_to_disk(file):
        splits = read_from_disk(file)
        if len(splits) > 1:
            raise UserError(f"--input {path} holds the splits {', '.join(splits)}: give the folder of one.")
        rows = next(iter(splits.values()))
        return _rows(iter(rows), find_input_columns(rows.column_names, path, **asked, trained=trained), path)
    if not file.is_file():
        raise UserError(f"--input {path}: there is no such file.")
    if kind_of(file) == TEXT_FILE and not _has_columns(file, text_format, text_column or trained["text"]):
        _refuse_pairs(path, trained_on)
        return _numbered(text_lines(file, text_format.encoding))
    from bert_recipes.data.readers import open_table  # pyarrow, which a line of text needs not

    table = open_table(file, text_format)
    columns = find_input_columns(table.schema.names, path, **asked, trained=trained)
    return _rows((row for batch in table.batches() for row in batch.to_pylist()), columns, path)


def _has_columns(file: Path, text_format: TextFormat, text_column: str | list[str] | None) -> bool:
    """Whether the first line of a text file names the text's columns, or has those of their numbers."""
    with open_text(file, encoding_of(file, text_format.encoding)) as lines:
        cells = next(lines, "").split(text_format.delimiter or DELIMITERS[TEXT_FILE])
    names = [cell.strip() for cell in cells] if text_format.header else [str(number) for number in range(len(cells))]
    wanted = [text_column] if isinstance(text_column, str) else text_column
    return len(cells) > 1 and wanted is not None and set(wanted) <= set(names)


def _refuse_pairs(source: str, trained_on: Mapping[str, Any] | None) -> None:
    trained = _trained_columns(trained_on)
    if trained["text_pair"]:
        first = trained["text"] if isinstance(trained["text"], str) else " ".join(trained["text"])
        raise UserError(
            f"{source} has one text on each line, and the model was trained on pairs: give a file with a column for "
            f"each, such as a .csv with {first} and {trained['text_pair']}."
        )


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
    if is_frame(given) or is_dataset(given):
        # Not a frame as a Dataset: prediction from an export does without datasets.
        rows = dataset_of(given) if is_dataset(given) else table_of(given)
        columns = find_input_columns(rows.column_names, "the rows", trained=_trained_columns(trained_on))
        cells = iter(rows) if is_dataset(given) else _cells_of(rows)
        yield from _rows(cells, columns, "the rows")
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
        yield TextRow(str(number), parts[0], parts[1] if pairs else None)


def _cells_of(table: "pa.Table") -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(ROWS_AT_ONCE):
        yield from batch.to_pylist()


def _trained_columns(configuration: Mapping[str, Any] | None) -> dict[str, Any]:
    return {part: (configuration or {}).get(f"{part}_column") for part in ("text", "text_pair", "id")}


def _rows(cells: Iterator[dict[str, Any]], columns: Columns, source: str) -> Iterator[TextRow]:
    texts = {"text": columns.text} | ({"text_pair": [columns.text_pair]} if columns.text_pair else {})
    for number, row in enumerate(cells):
        for name in itertools.chain(*texts.values()):
            if not isinstance(row.get(name), str | None):
                raise UserError(
                    f"{source}: row {number}, counted from 0, has {row[name]!r} in '{name}', which is no text."
                )
        identifier = row.get(columns.id) if columns.id else number
        both = {part: joined([row.get(name) for name in names]) for part, names in texts.items()}
        yield TextRow(id_text(identifier), both["text"], both.get("text_pair"), row)


def _numbered(lines: Iterator[str]) -> Iterator[TextRow]:
    for number, line in enumerate(lines):
        yield TextRow(str(number), line)


def _without_header(lines: Iterator[str], text_column: str | list[str] | None) -> Iterator[str]:
    """Yield lines of one text each; a table, whose first line names the text's column beside others, is refused."""
    wanted = {text_column} if isinstance(text_column, str) else set(text_column or ())
    for number, line in enumerate(lines):
        if number == 0 and wanted:
            for mark in NAMED_DELIMITERS.values():
                names = [cell.strip('"') for cell in line.split(mark)]
                # In a sentence a blank follows.
                if len(names) > 1 and wanted <= set(names) and not any(name.startswith(" ") for name in names):
                    raise UserError(
                        f"standard input has one text on each line, and its first line is the header of a table "
                        f"({some(names)}): give the table as a file, by --input."
                    )
        yield line


def _stdin_lines(encoding: str) -> Iterator[str]:
    """Yield the lines of standard input: of that encoding, or UTF-8, which a line hardly ever is by chance."""
    wide = is_wide(encoding)
    # A shell's line is UTF-8, whatever the files were that the model was trained on.
    tried = (encoding,) if wide else ("utf-8", encoding)
    lines = io.TextIOWrapper(sys.stdin.buffer, encoding=encoding) if wide else sys.stdin.buffer
    try:
        for line in lines:
            text = line if isinstance(line, str) else _decoded(line, tried)
            yield text.removeprefix("\ufeff").rstrip("\r\n")
    except UnicodeError as error:
        raise UserError(f"standard input is not {encoding} ({error}): name its encoding with --encoding.") from error
    finally:
        if isinstance(lines, io.TextIOWrapper):
            lines.detach()  # which would close it


def _decoded(line: bytes, encodings: tuple[str, ...]) -> str:
    for encoding in encodings[:-1]:
        with contextlib.suppress(UnicodeError):
            return line.decode(encoding)
    return line.decode(encodings[-1])
