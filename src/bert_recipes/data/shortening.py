"""Cutting long texts by their characters before they are tokenized, for the sake of time and memory."""

from collections.abc import Sequence

from bert_recipes.data.tokenizer_like import TokenizerLike

# A text is cut to so many characters for each token before it is tokenized: what is behind them would be truncated,
# and takes 180 bytes a character until then. The next number is for a text that holds too few tokens up to there, such
# as one of spaces; at the last one every text ends.
CHARACTERS_PER_TOKEN = (16, 128, 1024)
# A cut text holds so many tokens beyond those that are kept. A cut through a word changes fewer, since WordPiece takes
# a word of more than 100 characters for unknown.
MARGIN = 128
# Up to so many characters a word that a text read from its end would be cut through is kept whole: of a URL, which may
# be one token (`--normalize`), the end alone would be hundreds. A text without spaces is cut all the same.
LONGEST_WORD = 8192


def sizes_for(tokens: int) -> list[int]:
    """Return the characters to which a text is cut, in turn, of which so many tokens are kept."""
    return [number * (tokens + MARGIN) for number in CHARACTERS_PER_TOKEN]


class Shortener:
    """Cuts texts where that changes none of the tokens that are kept of them.

    Args:
        tokenizer: the model's own.
        tokens: how many are kept of a text, or of a pair.
        from_end: whether these are its last.
        sizes: characters to cut a text to: the next where the one before holds too few tokens.
    """

    def __init__(self, tokenizer: TokenizerLike, tokens: int, *, from_end: bool = False, sizes: Sequence[int] = ()):
        self.tokenizer = tokenizer
        self.tokens = tokens
        self.from_end = from_end
        self.sizes = list(sizes) or sizes_for(tokens)

    @property
    def most(self) -> int:
        """The characters at which every text ends."""
        return self.sizes[-1]

    def _kept(self, text: str, characters: int) -> str:
        """Return so much of a text, from the end that is not truncated."""
        if not self.from_end:
            return text[:characters]
        start = max(0, len(text) - characters)
        before = text[max(0, start - LONGEST_WORD) : start]
        word = before.rsplit(maxsplit=1)[-1] if before and not before[-1].isspace() else ""
        return text[start - len(word) :] if len(word) < LONGEST_WORD else text[start:]

    def cut(self, texts: list[str]) -> list[str]:
        """Return the texts, those cut that are long."""
        cut = list(texts)
        waiting = list(range(len(texts)))
        *sizes, most = self.sizes
        for size in sizes:
            waiting = [i for i in waiting if len(texts[i]) > size]
            if not waiting:
                return cut
            for i in waiting:
                cut[i] = self._kept(texts[i], size)
            found = self.tokenizer([cut[i] for i in waiting], add_special_tokens=False, verbose=False)["input_ids"]
            waiting = [i for i, ids in zip(waiting, found, strict=True) if len(ids) < self.tokens + MARGIN]
            for i in waiting:
                cut[i] = self._kept(texts[i], most)
        return cut

    def cut_pairs(self, texts: list[str], pairs: list[str]) -> list[list[str]]:
        """As `cut`, for pairs: the text with more tokens, which may keep one more, is still the one with more.

        The tokenizer has to be a fast one.
        """
        cut = [list(texts), list(pairs)]
        for i, both in enumerate(zip(texts, pairs, strict=True)):
            if max(map(len, both)) <= self.sizes[0]:
                continue
            # The parts that are truncated come in all combinations of the two texts: a square of their lengths.
            whole = [self._kept(text, self.most) for text in both]
            options = {"add_special_tokens": False, "return_offsets_mapping": True, "verbose": False}
            first, second = (self.tokenizer(text, **options)["offset_mapping"] for text in whole)
            longer = int(len(first) <= len(second))
            for side, offsets in enumerate((first, second)):
                kept = self.tokens + (2 if side == longer else 1) * MARGIN
                if len(offsets) <= kept:
                    cut[side][i] = whole[side]
                elif self.from_end:
                    cut[side][i] = whole[side][offsets[-kept][0] :]
                else:
                    cut[side][i] = whole[side][: offsets[kept - 1][1]]
        return cut
