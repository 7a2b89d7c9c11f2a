"""From texts to the tokens that a model takes, by a tokenizer that transformers has loaded or an export carries."""

import itertools
from collections.abc import Iterator
from typing import Any

from bert_recipes.columns import JOINT
from bert_recipes.config.reading import WINDOWS, Reading
from bert_recipes.data.long_texts import reader_of
from bert_recipes.data.tokenizer_like import TokenizerLike
from bert_recipes.errors import UserError, some

# Texts are tokenized so many characters at a time, for the sake of memory.
CHARACTERS_AT_ONCE = 2**20
HOW_TO_RESIZE = (
    "save the model again after model.resize_token_embeddings(len(tokenizer)), or take the tokenizer it came with"
)


class TokensOfTexts:
    """What turns texts into the tokens that a model takes.

    Args:
        tokenizer: the model's own; it is left truncating at the side that `reading` says.
        max_length: tokens a text is cut to, or a window of it, special tokens included.
        reading: which tokens of a longer text are read.
        takes_token_types: whether the model tells the two texts of a pair apart by token type ids.
        embeddings: how many the model has, where the tokenizer has special tokens beyond them, so that each text has
            to be looked at.

    Raises:
        UserError: `reading` does not fit `max_length`.
    """

    def __init__(
        self,
        tokenizer: TokenizerLike,
        max_length: int,
        reading: Reading | None = None,
        *,
        takes_token_types: bool,
        embeddings: int | None = None,
    ):
        self.tokenizer = tokenizer
        self.takes_token_types, self.embeddings = takes_token_types, embeddings
        # What joins the columns of one text is the tokenizer's own separator. Where a space belongs to the word behind
        # it, as in RoBERTa's vocabulary, one before the separator would be a token of its own.
        own = f"{tokenizer.sep_token} " if tokenizer.sep_token else "\n"
        self.joint = JOINT if tokenizer.sep_token == JOINT.strip() else own
        reading = reading or Reading()
        self.in_windows = reading.long_texts == WINDOWS
        self.read = reader_of(reading, tokenizer, max_length)

    def __call__(self, texts: list[str], pairs: list[str] | None = None) -> tuple[dict[str, list[Any]], list[bool]]:
        """Return the tokenizer's lists by name, one for each text, and which texts or pairs were truncated.

        In windows there is a list of lists for each text, one for each of its windows.

        Args:
            texts: to tokenize.
            pairs: the second texts, where each is one of a pair.

        Raises:
            UserError: a text spells a token that the model has no embedding for, or pairs cannot be read so.
        """
        tokens: dict[str, list[Any]] = {}
        truncated: list[bool] = []
        for part in _parts(texts, pairs):
            found, cut = self._tokenize([texts[part]] if pairs is None else [texts[part], pairs[part]])
            for name, values in found.items():
                tokens.setdefault(name, []).extend(values)
            truncated += cut
        return tokens, truncated

    def _tokenize(self, given: list[list[str]]) -> tuple[dict[str, list[Any]], list[bool]]:
        if self.joint != JOINT:
            given = [[text.replace(JOINT, self.joint) for text in part] for part in given]
        tokens, truncated = self.read(given)
        if not self.takes_token_types:
            tokens.pop("token_type_ids", None)
        if self.embeddings is not None:
            ids = tokens["input_ids"]
            self._refuse_unknown(list(itertools.chain(*ids)) if self.in_windows else ids, self.embeddings)
        return tokens, truncated

    def _refuse_unknown(self, rows: list[list[int]], embeddings: int) -> None:
        found = {number for ids in rows if max(ids, default=0) >= embeddings for number in ids if number >= embeddings}
        if found:
            spelt = some(self.tokenizer.convert_ids_to_tokens(sorted(found)))
            raise UserError(
                f"a text holds {spelt}, for which --model {self.tokenizer.name_or_path} has a token and no embedding: "
                f"take it out of the text; or {HOW_TO_RESIZE}."
            )


def _parts(texts: list[str], pairs: list[str] | None) -> Iterator[slice]:
    """Yield slices of the texts that hold about `CHARACTERS_AT_ONCE` characters, or one text."""
    first, characters = 0, 0
    for i, text in enumerate(texts):
        characters += len(text) + (len(pairs[i]) if pairs else 0)
        if characters >= CHARACTERS_AT_ONCE or i == len(texts) - 1:
            yield slice(first, i + 1)
            first, characters = i + 1, 0
