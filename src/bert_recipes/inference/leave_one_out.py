"""Which words carried a prediction: what changes if each is left out (Li et al., 2016, https://arxiv.org/abs/1612.08220)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bert_recipes.columns import JOINT
from bert_recipes.inference.rows import TextRow

# The most pieces of a text: in a longer one several words are left out together.
MOST_PIECES = 100
# Chinese and Japanese put no blanks between words: there each letter is one.
_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
WORD = re.compile(rf"[{_ALONE}]|[^\s{_ALONE}]+")


@dataclass(frozen=True)
class Piece:
    """A word of a row, or several in a row.

    Attributes:
        of_pair: whether it stands in the second text of a pair.
        start: its first character in that text.
        end: the one after its last.
    """

    of_pair: bool
    start: int
    end: int


def pieces_of(row: TextRow, most: int = MOST_PIECES) -> list[Piece]:
    """Cut a row's texts into at most `most` pieces, each of as many words as any other, or fewer at the end."""
    texts = [row.text] if row.text_pair is None else [row.text, row.text_pair]
    words = [
        [Piece(bool(number), found.start(), found.end()) for found in WORD.finditer(text) if found[0] != JOINT.strip()]
        for number, text in enumerate(texts)
    ]
    count = sum(map(len, words))
    # So many that the shorter piece which may end each text is within `most`, too.
    size = 1 if count <= most else -(-count // (most - len(texts) + 1))
    return [
        Piece(some[0].of_pair, some[0].start, some[-1].end)
        for of_text in words
        for some in (of_text[i : i + size] for i in range(0, len(of_text), size))
    ]


def without_each(row: TextRow, pieces: Sequence[Piece]) -> list[TextRow]:
    """Return the row without each of its pieces, `[pieces]`."""
    left = []
    for piece in pieces:
        text = (row.text_pair or "") if piece.of_pair else row.text
        rest = text[: piece.start] + text[piece.end :]
        left.append(row._replace(text_pair=rest) if piece.of_pair else row._replace(text=rest))
    return left
