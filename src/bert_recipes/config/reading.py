"""Which tokens of a long text a model reads: the flags of it, what they mean together, and how that is said."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bert_recipes.errors import UserError, nearest

HEAD, TAIL, HEAD_TAIL, WINDOWS = LONG_TEXTS = ("head", "tail", "head_tail", "windows")
# Of a text, unless `--max_windows` says otherwise.
MOST_WINDOWS = 32
# The key of a model's config.json under which `Reading.saved` stands.
READING = "reading"


@dataclass(frozen=True)
class Reading:
    """How texts of more than `--max_length` tokens are read. The attributes are flags and keys of run.yaml.

    Attributes:
        long_texts: `head`, `tail`, `head_tail` or `windows`; None truncates at the tokenizer's own side, which is the
            head for all but a few.
        stride: tokens of the text that two neighbouring windows share, as in transformers'
            `return_overflowing_tokens`; None for a quarter of `--max_length`.
        max_windows: most windows of a text; None for `MOST_WINDOWS`.

    Raises:
        UserError: there is no such way of reading, or a setting of windows is given for another one.
    """

    long_texts: str | None = None
    stride: int | None = None
    max_windows: int | None = None

    def __post_init__(self) -> None:
        mode = self.long_texts
        if mode is not None and mode not in LONG_TEXTS:
            raise UserError(f"--long_texts {mode}{nearest(str(mode), LONG_TEXTS)}: take {', '.join(LONG_TEXTS)}.")
        for name in ("stride", "max_windows"):
            if getattr(self, name) is not None and mode != WINDOWS:
                raise UserError(f"--{name} {getattr(self, name)} is of windows: give --long_texts windows too.")

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Reading":
        """Return the reading that a configuration asks for; keys that it lacks are unset."""
        return cls(**{field.name: values.get(field.name) for field in dataclasses.fields(cls)})

    def head(self, max_length: int) -> int:
        """Return how many tokens of `head_tail` are the text's first, by arXiv:1905.05583: 128 of 512."""
        return max_length // 4

    def overlap(self, max_length: int) -> int:
        """Return how many tokens two neighbouring windows share."""
        return max_length // 4 if self.stride is None else self.stride

    @property
    def most_windows(self) -> int:
        """Return how many windows a text has at most."""
        return self.max_windows or MOST_WINDOWS

    def saved(self, max_length: int) -> dict[str, Any]:
        """Return what the config.json of a model says: as a run's configuration, with nothing left to a default."""
        settings = {"max_length": max_length, "long_texts": self.long_texts}
        if self.long_texts == WINDOWS:
            settings |= {"stride": self.overlap(max_length), "max_windows": self.most_windows}
        return settings

    def in_words(self, max_length: int) -> str:
        """Return a sentence that says how texts of more than `max_length` tokens are read."""
        longer = f"text of more than {max_length} tokens"
        if self.long_texts is None:
            return f"A {longer} is truncated, at its end unless the tokenizer's `truncation_side` is left."
        if self.long_texts == WINDOWS:
            return (
                f"A {longer} is read in up to {self.most_windows} windows of {max_length}, neighbours sharing "
                f"{self.overlap(max_length)}, and the mean of their logits is the text's."
            )
        read = {
            HEAD: f"the first {max_length}",
            TAIL: f"the last {max_length}",
            HEAD_TAIL: f"{max_length} (its first {self.head(max_length)}, and else its last)",
        }
        return f"Of a {longer} {read[self.long_texts]} are read."
