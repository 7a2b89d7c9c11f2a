"""What a run says at the terminal. Only the main process speaks."""

import contextlib
import logging
import multiprocessing
import os
import re
import sys
import unicodedata
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import IO, Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment

# Beside what Python calls printable: ends of lines, and what joins letters in Persian and in emoji.
HARMLESS = frozenset("\n\t\u200c\u200d")


def printable(text: str) -> str:
    """Return `text` with an escape for every character that would do something to the terminal.

    Those are control characters, and with them the terminal's own commands, marks that turn the direction of writing,
    and halves of characters; they come from texts, labels, and names of columns and files.
    """
    return "".join(letter if _is_harmless(letter) else repr(letter)[1:-1] for letter in text)


def as_markup(text: str) -> str:
    """Return what shows `text` where rich reads marks of style."""
    return escape(printable(text))


def _is_harmless(letter: str) -> bool:
    return letter.isprintable() or letter in HARMLESS or unicodedata.category(letter) == "Zs"


class EscapingStream:
    """A text stream that writes as escapes what its encoding has no characters for.

    Args:
        stream: what is written to.
        data: whether what is written is data, whose control characters become escapes too.
    """

    def __init__(self, stream: IO[str], *, data: bool = False) -> None:
        self._stream = stream
        self._data = data

    def write(self, text: str) -> int:
        """Write all of `text`."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        if self._data:
            text = printable(text.replace("\r\n", "\n"))
        return self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Console(Console):
    """A console that no character and no closed pipe upsets."""

    @property
    def is_jupyter(self) -> bool:
        """Whether this is a notebook's kernel itself: one that was forked from it can print, and display nothing."""
        return self._is_jupyter and multiprocessing.parent_process() is None

    @is_jupyter.setter
    def is_jupyter(self, is_jupyter: bool) -> None:
        self._is_jupyter = is_jupyter

    @property
    def file(self) -> IO[str]:
        """Where it writes to."""
        return EscapingStream(super().file)  # type: ignore[return-value]

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is written, in which no text is a command."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text), segment.style)

    @property
    def quiet(self) -> bool:
        """Whether nothing is printed. Asked anew each time: `notebook_launcher` forks the others from the kernel."""
        return self._quiet or int(os.environ.get("RANK", "0")) > 0

    @quiet.setter
    def quiet(self, quiet: bool) -> None:
        self._quiet = quiet

    def on_broken_pipe(self) -> None:
        """Let `run_main` end the process."""
        self.quiet = True
        raise


# Without emoji, since file.py:One: is a name.
console = _Console(highlight=False, emoji=False)
if console.is_jupyter and "JUPYTER_COLUMNS" not in os.environ:
    console.width = 100  # what fits below a cell: rich takes 115


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    return console.is_jupyter


def waiting(what: str) -> AbstractContextManager[object]:
    """Return a context during which the terminal shows that something goes on.

    In a notebook it shows nothing: what rich has for that needs widgets.
    """
    return contextlib.nullcontext() if in_notebook() else console.status(what)


def standard_output() -> TextIO:
    """Return standard output for data: as it is for a program, and escaped for a terminal."""
    if sys.stdout.isatty():
        return EscapingStream(sys.stdout, data=True)  # type: ignore[return-value]
    return sys.stdout


def quiet_libraries() -> None:
    """Keep back what a user cannot act on: bars of a second's work, and reports of weights that are to be new."""
    # tqdm's, in a kernel without widgets, on the bars that are kept back here.
    warnings.filterwarnings("ignore", message="IProgress not found")
    # Said before they are imported, where they are not: a script may have no use for them.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if "huggingface_hub" in sys.modules:
        from huggingface_hub.utils import disable_progress_bars

        disable_progress_bars()
    if "transformers" in sys.modules:
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()
    logging.getLogger("transformers.modeling_utils").addFilter(_tells_more_than_a_new_head)
    logging.getLogger("transformers.tokenization_python").addFilter(_tells_more_than_a_truncation)


def _tells_more_than_a_new_head(record: logging.LogRecord) -> bool:
    """Whether a report on loaded weights has something to act on: a new head is what fine-tuning is about."""
    message = record.getMessage()
    if "LOAD REPORT" not in message:
        return True
    fresh = [line.split("|")[0] for line in message.splitlines() if re.search(r"\| (MISSING|MISMATCH) ", line)]
    return any(not re.search(r"classifier|pooler|score|head", name) for name in fresh)


def _tells_more_than_a_truncation(record: logging.LogRecord) -> bool:
    """Whether a tokenizer that is not fast has more to say than that a pair is truncated."""
    return "overflowing tokens are not returned" not in record.getMessage()


def say(text: str, style: str | None = None, *, whole: bool = False) -> None:
    """Print `text` as it is, unless this is not the main process.

    Args:
        text: a sentence.
        style: of rich.
        whole: whether its lines are left for the terminal to wrap, so that a command in it can be copied.
    """
    console.print(printable(text), style=style, markup=False, soft_wrap=whole or not _wraps())


def say_beside_data(text: str) -> None:
    """Print `text` to standard error, unless this is not the main process: standard output is for predictions."""
    if not console.quiet:
        print(printable(text), file=sys.stderr)


def warn(text: str) -> None:
    """Print a warning, unless this is not the main process."""
    console.print(f"[yellow]warning:[/yellow] {as_markup(text)}", soft_wrap=not _wraps())


def _wraps() -> bool:
    """Whether sentences are wrapped here: a log or a pipe has no width."""
    return console.is_terminal or console.is_jupyter
