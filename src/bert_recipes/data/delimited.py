"""Files of delimited text, read as they stand: a row is never swallowed, shifted or filled up without a word.

The file is read once to tell how it is written and whether it is whole, and then for its rows.
"""

import csv
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bert_recipes.config.arguments import QUOTINGS
from bert_recipes.data.stray_quotes import StrayQuotes
from bert_recipes.data.text_files import NAMED_DELIMITERS, TextFormat, encoding_of, kind_of, open_text
from bert_recipes.errors import UserError

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t"}
USUAL_DELIMITERS = {mark: name for name, mark in NAMED_DELIMITERS.items() if name.isalpha()}
HOW_TO_QUOTE = 'a mark that is part of a text is written twice, within quotation marks, as in "a ""good"" day"'
# The csv module's own limit is 128 KiB a cell.
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True)
class Delimited:
    """A file of delimited text and how it is read.

    Attributes:
        path: of the file.
        encoding: as `encoding_of` returns it.
        delimiter: between cells.
        quoting: one of `QUOTINGS`.
        header: whether the first row holds the names of the columns.
        spaced: whether a space follows each delimiter.
    """

    path: Path
    encoding: str
    delimiter: str
    quoting: str
    header: bool
    spaced: bool = False

    def records(self) -> Iterator[tuple[int, int, list[str]]]:
        """Yield first line, last line and cells of every row, the header included; empty lines are none.

        Raises:
            csv.Error: a quotation mark stands where it cannot; the exception's `line` is the row's first line.
        """
        with open_text(self.path, self.encoding, newline="") as file:
            lines = map(_escape_lone_backslashes, file) if self.quoting == "backslash" else file
            reader = csv.reader(
                lines,
                delimiter=self.delimiter,
                quoting=csv.QUOTE_NONE if self.quoting == "none" else csv.QUOTE_MINIMAL,
                escapechar="\\" if self.quoting == "backslash" else None,
                skipinitialspace=self.spaced,
                strict=True,
            )
            last = 0
            try:
                for cells in reader:
                    first, last = last + 1, reader.line_num
                    if cells:
                        yield first, last, cells
            except csv.Error as error:
                error.line = last + 1  # type: ignore[attr-defined]
                raise

    def names(self) -> list[str]:
        """Return the names of the columns: those of the header, without space around them, or numbers from 0.

        A column without a name gets the one that pandas gives it.
        """
        cells = next(self.records(), (0, 0, list[str]()))[2]
        if not self.header:
            return [str(number) for number in range(len(cells))]
        return [cell.strip() or f"Unnamed: {number}" for number, cell in enumerate(cells)]

    def rows(self) -> Iterator[list[str]]:
        """Yield the cells of every row, without the header, of a file that `check` has let pass."""
        for _, _, cells in itertools.islice(self.records(), int(self.header), None):
            yield cells


def _escape_lone_backslashes(line: str) -> str:
    # The csv module drops any backslash, that of C:\temp too.
    return re.sub(r'\\(["\\])?', lambda found: found[0] if found[1] else r"\\", line)


def open_delimited(path: Path, text_format: TextFormat) -> Delimited:
    """Find out how a file of delimited text is written, and check that all of it can be read that way.

    Raises:
        UserError: it cannot; the sentence names the line, and what would read it.
    """
    file = Delimited(
        path,
        encoding_of(path, text_format.encoding),
        text_format.delimiter or DELIMITERS[kind_of(path)],
        text_format.quoting or "double",
        text_format.header,
    )
    file = replace(file, spaced=_is_spaced(file))
    _check_names(file)
    problem = _problem(file)
    if problem is None:
        return file
    other = _reading_that_fits(file)
    if other == "backslash" and text_format.quoting is None:
        return replace(file, quoting=other)
    offer = f"; --quoting {other} reads the whole file" if other else ""
    raise UserError(f"{path}: {problem}{offer}.")


def _is_spaced(file: Delimited) -> bool:
    try:
        _, _, cells = next(file.records(), (0, 0, list[str]()))
    except csv.Error:
        return False
    return len(cells) > 1 and all(cell.startswith(" ") for cell in cells[1:])


def _check_names(file: Delimited) -> None:
    try:
        rows = list(itertools.islice(file.records(), 2))
        names = file.names()
    except csv.Error:
        return  # its sentence comes when the whole is read
    if len(rows) == 0 or (file.header and len(rows) == 1):
        what = "a header and no rows" if rows else "no rows"
        raise UserError(f"{file.path} has {what}.")
    if len(names) == 1:
        _check_delimiter(file, *(cells for _, _, cells in rows))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{file.path} has more than one column named '{twice[0]}': rename all but one.")


def _check_delimiter(file: Delimited, first: list[str], second: Sequence[str] = ()) -> None:
    """Refuse a first row of one cell that another delimiter would part, and the next one as well."""
    below = file.delimiter.join(second)
    counts = {mark: first[0].count(mark) for mark in USUAL_DELIMITERS if mark != file.delimiter}
    counts = {mark: count if below.count(mark) >= count else 0 for mark, count in counts.items()}
    mark = max(counts, key=lambda mark: counts[mark])
    if counts[mark]:
        missing = USUAL_DELIMITERS.get(file.delimiter, repr(file.delimiter))
        raise UserError(
            f"{file.path}: the first row has no {missing} to part it, and {counts[mark]} of {USUAL_DELIMITERS[mark]}: "
            f"give --delimiter {USUAL_DELIMITERS[mark]}."
        )


def _problem(file: Delimited) -> str | None:
    """Read the whole file; return what is wrong with it and how to write it, as the end of a sentence, or None."""
    quotes = StrayQuotes(file.delimiter)
    width = None
    try:
        for first, last, cells in file.records():
            if width is None:
                width = len(cells)
                if file.header:
                    continue
            if len(cells) != width:
                return _wrong_width(first, last, cells, width, "the header" if file.header else "the first row")
            quotes.see(first, last, cells)
    except csv.Error as error:
        line = error.line  # type: ignore[attr-defined]
        what = "is not closed" if "end of data" in str(error) else f"does not fit ({error})"
        return f"a quotation mark in the row that begins in line {line} {what}: {HOW_TO_QUOTE}"
    swallowed = quotes.found()
    if swallowed is None:
        return None
    first, last = swallowed
    return (
        f"a quotation mark opens a cell in line {first} and the next one closes it in line {last}, which would make "
        f"one row of {last - first + 1} that look like a row each: {HOW_TO_QUOTE}"
    )


def _wrong_width(first: int, last: int, cells: list[str], width: int, whole: str) -> str:
    where = f"line {first} has" if first == last else f"lines {first} to {last}, a single row, have"
    end = "put a cell that holds the delimiter within quotation marks"
    if len(cells) > width and not any(cells[width:]):
        end = "remove the delimiter at its end, or add one to the header"
    elif len(cells) < width:
        end = "fill it up, or mend the quotation marks in it"
    return f"{where} {len(cells)} cells, and {whole} has {width}: {end}"


def _has_escaped_quotes(file: Delimited) -> bool:
    with open_text(file.path, file.encoding, newline="") as lines:
        return any('\\"' in line for line in lines)


def _reading_that_fits(file: Delimited) -> str | None:
    """Return another quoting that reads the whole file, or None."""
    others = [quoting for quoting in QUOTINGS if quoting != file.quoting]
    if not _has_escaped_quotes(file):
        others = [quoting for quoting in others if quoting != "backslash"]
    return next((quoting for quoting in others if _problem(replace(file, quoting=quoting)) is None), None)
