"""The rows to predict: from a file, from standard input, or from Python."""

import bisect
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bert_recipes.data.cells import can_be_written, id_text
from bert_recipes.data.column_guessing import Columns, find_input_columns, joined, listed
from bert_recipes.data.delimited import DELIMITERS
from bert_recipes.data.in_memory import dataset_of, is_dataset, is_frame, table_of
from bert_recipes.data.saved_to_disk import is_saved_to_disk, read_from_disk
from bert_recipes.data.text_files import TextFormat, encoding_of, kind_of, open_text, text_lines
from bert_recipes.errors import UserError
from bert_recipes.inference.input_files import find_files
from bert_recipes.inference.standard_input import stdin_lines, without_header

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

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


def read_stream(path: str | Sequence[str], **options: Any) -> Iterator[TextRow]:
    """Yield the rows of files, or of standard input for `-`, one after the other.

    Args:
        path: as `InputRows` takes it, or `-` for standard input, which has one text on each line.
        options: as `InputRows` takes them.

    Raises:
        UserError: a file or one of its rows cannot be read, or a column is missing.
    """
    if path not in ("-", ["-"]):
        return iter(InputRows([path] if isinstance(path, str) else path, **options))
    trained_on = options.get("trained_on")
    text_format = options.get("text_format") or TextFormat.of(trained_on or {})
    _refuse_pairs("standard input", trained_on)
    text_column = options.get("text_column") or _trained_columns(trained_on)["text"]
    return _numbered(without_header(stdin_lines(text_format.encoding), text_column))


@dataclass(frozen=True)
class _RowFile:
    """A file of rows to predict, checked.

    Attributes:
        columns: their names; None, where each line is a text.
        read: called with the number of a row in it, and that of its first row among all: the rows from there on.
        count: called to count its rows.
        starts: as of `TableFile`.
    """

    columns: list[str] | None
    read: Callable[[int, int], Iterator[TextRow]]
    count: Callable[[], int]
    starts: Sequence[int] = (0,)


class InputRows:
    """The rows of one or more files, one file after the other, all or some of them.

    Args:
        names: files, patterns such as `data/*.parquet`, folders of files, and those of `save_to_disk`; the files of a
            folder or a pattern are taken in the order of their names. Rows have named columns, as training takes them;
            `.txt` without the text's column has one text on each line.
        text_column: its name, or several whose texts are joined; by default what `trained_on` says, where the file
            has it, or one of the usual names.
        text_pair_column: of the second text of a pair, likewise.
        id_column: likewise; where there is none, the rows' numbers, from 0, are their ids.
        trained_on: the configuration of the run that made the model.
        text_format: of text files; by default that of `trained_on`.

    Attributes:
        paths: of the files.

    Raises:
        UserError: there is no such file, now; or while rows are read, one cannot be, or a column is missing.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        text_column: str | list[str] | None = None,
        text_pair_column: str | None = None,
        id_column: str | None = None,
        trained_on: Mapping[str, Any] | None = None,
        text_format: TextFormat | None = None,
    ):
        self.paths = find_files(names)
        self.trained_on = trained_on
        self.text_format = text_format or TextFormat.of(trained_on or {})
        self._asked: dict[str, Any] = {"text": text_column, "text_pair": text_pair_column, "id": id_column}
        self._trained = _trained_columns(trained_on)
        self._files: dict[int, _RowFile] = {}
        # Where `between` left off: the number of the file, that of the row in it, and the rows from there on.
        self._left: tuple[int, int, Iterator[TextRow]] | None = None

    @property
    def reading(self) -> dict[str, Any]:
        """All that decides which texts and ids are read from the files."""
        return {"columns": self._asked, "trained": self._trained, "format": dataclasses.asdict(self.text_format)}

    def __iter__(self) -> Iterator[TextRow]:
        """Check all files, and return all their rows."""
        return self._all(self._checked())

    def counts(self) -> list[int]:
        """Check all files, and return how many rows each has, `[files]`."""
        return [file.count() for file in self._checked()]

    def between(self, counts: Sequence[int], start: int, stop: int) -> Iterator[TextRow]:
        """Yield some of the rows, by their numbers among all; the rows before are skipped, unread where that can be.

        Args:
            counts: what `counts` returned, here or in another process.
            start: the first of them; that of a later call is quickest to reach where it is no less than this `stop`.
            stop: the one after the last.

        Raises:
            UserError: a file has fewer rows now, or as the class says.
        """
        first = 0
        for number, count in enumerate(counts):
            begin, end = max(start - first, 0), min(stop - first, count)
            if begin < end:
                yield from self._of_file(number, first, begin, end)
            first += count

    def _of_file(self, number: int, first: int, begin: int, end: int) -> Iterator[TextRow]:
        file = self._file(number)
        nearest = file.starts[bisect.bisect_right(file.starts, begin) - 1]
        opened, at, rows = self._left or (-1, 0, iter(()))
        if opened != number or not nearest <= at <= begin:
            at, rows = nearest, file.read(nearest, first)
        self._left, found = None, 0
        for row in itertools.islice(rows, begin - at, end - at):
            yield row
            found += 1
        if found < end - begin:
            raise UserError(f"{self.paths[number]} has changed since it was counted: give the command again.")
        self._left = number, end, rows

    def _file(self, number: int) -> _RowFile:
        if number not in self._files:
            self._files[number] = self._checked_file(self.paths[number])
        return self._files[number]

    def _all(self, files: list[_RowFile]) -> Iterator[TextRow]:
        first = 0
        for file in files:
            for row in file.read(0, first):
                yield row
                first += 1

    def _checked(self) -> list[_RowFile]:
        files = [self._file(number) for number in range(len(self.paths))]
        for path, file in zip(self.paths, files, strict=True):
            if set(file.columns or ()) != set(files[0].columns or ()):
                raise UserError(
                    f"--input: {path} has other columns ({listed(file.columns or ['none'])}) than {self.paths[0]} "
                    f"({listed(files[0].columns or ['none'])}): give files of the same columns, or name one of them."
                )
        return files

    def _checked_file(self, path: Path) -> _RowFile:
        source = str(path)
        if is_saved_to_disk(path):
            splits = read_from_disk(path)
            if len(splits) > 1:
                raise UserError(f"--input {path} holds the splits {', '.join(splits)}: give the folder of one.")
            return self._of_dataset(next(iter(splits.values())), source)
        trained_text = self._asked["text"] or self._trained["text"]
        if kind_of(path) == TEXT_FILE and not _has_columns(path, self.text_format, trained_text):
            _refuse_pairs(source, self.trained_on)
            return self._of_lines(path)
        from bert_recipes.data.readers import open_table  # pyarrow, which a line of text needs not

        table = open_table(path, self.text_format)
        columns = find_input_columns(table.schema.names, source, **self._asked, trained=self._trained)

        def read(start: int, first: int) -> Iterator[TextRow]:
            cells = (row for batch in table.batches(start) for row in batch.to_pylist())
            return _rows(cells, columns, source, start, first)

        def count() -> int:
            return sum(len(batch) for batch in table.batches()) if table.num_rows is None else table.num_rows

        return _RowFile(table.schema.names, read, count, table.starts)

    def _of_dataset(self, rows: "Dataset", source: str) -> _RowFile:
        columns = find_input_columns(rows.column_names, source, **self._asked, trained=self._trained)

        def read(start: int, first: int) -> Iterator[TextRow]:
            return _rows(iter(rows.select(range(start, len(rows)))), columns, source, start, first)

        return _RowFile(rows.column_names, read, lambda: len(rows), range(max(1, len(rows))))

    def _of_lines(self, path: Path) -> _RowFile:
        def read(start: int, first: int) -> Iterator[TextRow]:
            lines = text_lines(path, self.text_format.encoding)
            return _numbered(itertools.islice(lines, start, None), first + start)

        return _RowFile(None, read, lambda: sum(1 for _ in text_lines(path, self.text_format.encoding)))


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
        if not all(map(can_be_written, parts)):
            raise UserError(
                f"row {number}, counted from 0, is {text!r}, which holds half of a pair of surrogates: replace that "
                "character."
            )
        yield TextRow(str(number), parts[0], parts[1] if pairs else None)


def _cells_of(table: "pa.Table") -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(ROWS_AT_ONCE):
        yield from batch.to_pylist()


def _trained_columns(configuration: Mapping[str, Any] | None) -> dict[str, Any]:
    return {part: (configuration or {}).get(f"{part}_column") for part in ("text", "text_pair", "id")}


def _rows(
    cells: Iterator[dict[str, Any]], columns: Columns, source: str, start: int = 0, first: int = 0
) -> Iterator[TextRow]:
    """Yield the rows of a file from the row `start` on, whose first row is the row `first` of all."""
    texts = {"text": columns.text} | ({"text_pair": [columns.text_pair]} if columns.text_pair else {})
    for number, row in enumerate(cells, start):
        for name in itertools.chain(*texts.values()):
            if not isinstance(row.get(name), str | None):
                raise UserError(
                    f"{source}: row {number}, counted from 0, has {row[name]!r} in '{name}', which is no text."
                )
        identifier = row.get(columns.id) if columns.id else first + number
        both = {part: joined([row.get(name) for name in names]) for part, names in texts.items()}
        yield TextRow(id_text(identifier), both["text"], both.get("text_pair"), row)


def _numbered(lines: Iterator[str], first: int = 0) -> Iterator[TextRow]:
    for number, line in enumerate(lines, first):
        yield TextRow(str(number), line)
