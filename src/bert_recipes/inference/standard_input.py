"""Standard input as lines of one text each."""

import contextlib
import io
import sys
from collections.abc import Iterator

from bert_recipes.data.text_files import NAMED_DELIMITERS, is_wide
from bert_recipes.errors import UserError, some


def without_header(lines: Iterator[str], text_column: str | list[str] | None) -> Iterator[str]:
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


def stdin_lines(encoding: str) -> Iterator[str]:
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
