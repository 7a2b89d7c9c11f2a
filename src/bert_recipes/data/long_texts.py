"""Which tokens of a text are read: the tokenizer's own truncation, head and tail, or overlapping windows.

All are called with `[texts]` or `[texts, second texts]` and return the tokenizer's lists by name, one for each text
(of windows a list of lists), and which of the texts were truncated.
"""

from collections.abc import Callable
from typing import Any

from bert_recipes.config.reading import HEAD_TAIL, TAIL, WINDOWS, Reading
from bert_recipes.data.shortening import Shortener, sizes_for
from bert_recipes.data.tokenizer_like import TokenizerLike
from bert_recipes.errors import UserError

Tokens = dict[str, list[Any]]
Read = Callable[[list[list[str]]], tuple[Tokens, list[bool]]]


def reader_of(reading: Reading, tokenizer: TokenizerLike, max_length: int) -> Read:
    """Return what reads texts as `reading` says; the tokenizer then truncates at that side, wherever it is loaded.

    Raises:
        UserError: `max_length` leaves no room for a text, or windows would not get ahead.
    """
    if reading.long_texts is not None:
        tokenizer.truncation_side = "left" if reading.long_texts == TAIL else "right"
    if reading.long_texts == WINDOWS:
        return Windows(tokenizer, max_length, reading)
    if reading.long_texts == HEAD_TAIL:
        return HeadAndTail(tokenizer, max_length, reading)
    return OneEnd(tokenizer, max_length)


class OneEnd:
    """The first tokens of a text or a pair, or its last ones, as the tokenizer truncates.

    Args:
        tokenizer: the model's own.
        max_length: tokens that are kept, special tokens included.
    """

    def __init__(self, tokenizer: TokenizerLike, max_length: int):
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.shortener = Shortener(tokenizer, max_length, from_end=tokenizer.truncation_side == "left")
        # The first call leaves its truncation in the tokenizer's state, which is part of the fingerprint of the cache.
        tokenizer("", truncation=True, max_length=max_length)

    def __call__(self, given: list[list[str]]) -> tuple[Tokens, list[bool]]:
        """Return the tokens of texts or pairs, and which were truncated."""
        ended = [any(len(text) > self.shortener.most for text in row) for row in zip(*given, strict=True)]
        if len(given) == 2 and self.tokenizer.is_fast:
            shortened = self.shortener.cut_pairs(*given)
        else:
            # One that is not fast truncates a pair without regard to which of its texts is the longer one.
            shortened = [self.shortener.cut(part) for part in given]
        tokens = self.tokenizer(*shortened, truncation=True, max_length=self.max_length)
        truncated = self._truncated(shortened, tokens)
        return dict(tokens), [any(either) for either in zip(truncated, ended, strict=True)]

    def _truncated(self, texts: list[list[str]], tokens: Any) -> list[bool]:
        if tokens.encodings is not None:
            return [bool(encoding.overflowing) for encoding in tokens.encodings]
        # One that is not fast does not say what it left out, and leaves room for separators that it may not need.
        room = self.max_length - self.tokenizer.num_special_tokens_to_add(pair=len(texts) > 1)
        full = [i for i, ids in enumerate(tokens["input_ids"]) if len(ids) >= room]
        out = [False] * len(tokens["input_ids"])
        if full:
            whole = self.tokenizer(*([part[i] for i in full] for part in texts), verbose=False)["input_ids"]
            for i, ids in zip(full, whole, strict=True):
                out[i] = len(ids) > len(tokens["input_ids"][i])
        return out


class _Pieces:
    """What cuts texts by their token ids, alike for every tokenizer: the special tokens stay around each piece.

    Args:
        tokenizer: the model's own.
        max_length: tokens of a piece, special tokens included.
        reading: how long texts are read.

    Raises:
        UserError: `max_length` leaves no room for a text.
    """

    def __init__(self, tokenizer: TokenizerLike, max_length: int, reading: Reading):
        self.tokenizer = tokenizer
        self.reading = reading
        self.before, self.behind = _special_tokens_around(tokenizer)
        self.room = max_length - self.before - self.behind
        if self.room < 1:
            raise UserError(
                f"--max_length {max_length} leaves no room for a text between {self.before + self.behind} special "
                "tokens: raise it."
            )
        # As all calls below, so that the fingerprint of the cache does not change with them.
        tokenizer("", verbose=False)

    def whole(self, texts: list[str]) -> list[dict[str, list[int]]]:
        """Return the tokens of texts that are not truncated, by the tokenizer's names, special tokens included."""
        tokens = self.tokenizer(texts, verbose=False)
        return [{name: values[i] for name, values in tokens.items()} for i in range(len(texts))]

    def inside(self, values: list[int]) -> list[int]:
        """Return what of one of these lists is the text's own."""
        return values[self.before : len(values) - self.behind]

    def around(self, values: list[int], piece: list[int]) -> list[int]:
        """Return a piece of a text with what stands around the text in `values`."""
        return values[: self.before] + piece + values[len(values) - self.behind :]

    def refuse_pairs(self, given: list[list[str]]) -> list[str]:
        """Return the texts.

        Raises:
            UserError: they come with second texts.
        """
        if len(given) == 2:
            raise UserError(
                f"--long_texts {self.reading.long_texts} is of single texts, and these rows are pairs: take head or "
                "tail, or join both into one text with --text_column and two names."
            )
        return given[0]


class HeadAndTail(_Pieces):
    """The first quarter of `max_length` from a text's head and the rest from its tail, by arXiv:1905.05583."""

    def __init__(self, tokenizer: TokenizerLike, max_length: int, reading: Reading):
        super().__init__(tokenizer, max_length, reading)
        self.head = min(reading.head(max_length), self.room - 1)
        self.tail = self.room - self.head
        self.from_head, self.from_tail = (Shortener(tokenizer, max_length, from_end=end) for end in (False, True))

    def __call__(self, given: list[list[str]]) -> tuple[Tokens, list[bool]]:
        """Return the tokens of texts, and which were truncated."""
        texts = self.refuse_pairs(given)
        heads, tails = self.from_head.cut(texts), self.from_tail.cut(texts)
        apart = [len(h) + len(t) < len(text) for h, t, text in zip(heads, tails, texts, strict=True)]
        # Where the two would overlap the text is taken whole.
        firsts = self.whole([h if two else text for h, two, text in zip(heads, apart, texts, strict=True)])
        lasts = iter(self.whole([tail for tail, two in zip(tails, apart, strict=True) if two]) if any(apart) else ())
        tokens: Tokens = {name: [] for name in firsts[0]}
        truncated = []
        for first, two in zip(firsts, apart, strict=True):
            last = next(lasts) if two else first
            cut = two or len(self.inside(first["input_ids"])) > self.room
            truncated.append(cut)
            for name, values in first.items():
                ends = self.inside(values)[: self.head] + self.inside(last[name])[-self.tail :]
                tokens[name].append(self.around(values, ends) if cut else values)
        return tokens, truncated


class Windows(_Pieces):
    """All of a text in windows of `max_length` tokens, whose neighbours overlap, up to a number of them.

    The windows are those of transformers' `return_overflowing_tokens` with its `stride`.

    Raises:
        UserError: neighbours would share all that a window holds of a text.
    """

    def __init__(self, tokenizer: TokenizerLike, max_length: int, reading: Reading):
        super().__init__(tokenizer, max_length, reading)
        self.overlap = reading.overlap(max_length)
        self.step = self.room - self.overlap
        if self.step < 1:
            raise UserError(
                f"--stride {self.overlap} is all of the {self.room} tokens of a text that a window of --max_length "
                f"{max_length} holds, or more: lower it, or raise --max_length."
            )
        tokens = self.overlap + reading.most_windows * self.step
        # At 16 characters a token, and not at 1,024: a text of so many tokens would take gigabytes.
        first, most = sizes_for(tokens)[0], sizes_for(max_length)[-1]
        self.shortener = Shortener(tokenizer, tokens, sizes=[first, max(first, most)])

    def __call__(self, given: list[list[str]]) -> tuple[Tokens, list[bool]]:
        """Return the tokens of the windows of texts, and which have more than are read."""
        texts = self.refuse_pairs(given)
        whole = self.whole(self.shortener.cut(texts))
        tokens: Tokens = {name: [] for name in whole[0]}
        truncated = []
        for text, row in zip(texts, whole, strict=True):
            starts = range(0, max(len(self.inside(row["input_ids"])) - self.overlap, 1), self.step)
            read = starts[: self.reading.most_windows]
            truncated.append(len(read) < len(starts) or len(text) > self.shortener.most)
            for name, values in row.items():
                own = self.inside(values)
                tokens[name].append([self.around(values, own[start : start + self.room]) for start in read])
        return tokens, truncated


def _special_tokens_around(tokenizer: TokenizerLike) -> tuple[int, int]:
    """Return how many special tokens the tokenizer puts before a text and behind it."""
    bare, whole = (tokenizer("a", add_special_tokens=own)["input_ids"] for own in (False, True))
    before = next(i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return before, len(whole) - before - len(bare)
