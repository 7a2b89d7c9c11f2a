"""How a run ends when it cannot go on: a user's mistake, said in one sentence, or a signal."""

import difflib
from collections.abc import Iterable, Sequence


class _SentenceError(Exception):
    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows of it: IPython looks for a method of this name."""
        return [f"{type(self).__name__}: {self}"]


class UserError(_SentenceError):
    """A mistake of the user's: what was wrong, where, and what to do, in one sentence without a traceback."""


class StoppedError(_SentenceError):
    """A signal came, and the run has saved what it needs to go on."""

    def __init__(self, sentence: str, number: int):
        super().__init__(sentence)
        self.number = number


def nearest(word: str, valid: Iterable[str], prefix: str = "") -> str:
    """Return `; did you mean X` for the one of `valid` that is most like `word`, or nothing if none is like it."""
    near = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    return f"; did you mean {prefix}{near[0]}" if near else ""


def some(values: Sequence[object], count: int | None = None, most: int = 5) -> str:
    """Return the first few of `values` for a sentence, and how many more there are of `count` in all."""
    count = len(values) if count is None else count
    shown = ", ".join(str(value) for value in values[:most])
    return shown if count <= most else f"{shown} and {count - most:,} more"


def in_one_line(error: BaseException) -> str:
    """Return all that an error of a library says, for a sentence."""
    return " ".join(str(error).split()) or type(error).__name__
