"""What is asked of a tokenizer, and how one that `tokenizers` has read alone answers as transformers' would."""

from typing import Any, Protocol

from tokenizers import Tokenizer


class TokenizerLike(Protocol):
    """A tokenizer of transformers', or one that is called like it."""

    truncation_side: str

    @property
    def is_fast(self) -> bool:
        """Whether it is one of the library `tokenizers`."""

    @property
    def sep_token(self) -> Any:
        """What stands between two texts, or None."""

    @property
    def name_or_path(self) -> str:
        """What a sentence calls its model."""

    def __call__(self, *texts: Any, **options: Any) -> Any:
        """Return the tokenizer's lists by name."""

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Return how many special tokens stand around a text or a pair."""

    def convert_ids_to_tokens(self, ids: Any) -> Any:
        """Return the tokens that ids stand for."""


class Tokens(dict[str, list[Any]]):
    """Lists by name, one for each text, and the encodings that they were made of."""

    encodings: list[Any]


class BareTokenizer:
    """A tokenizer without transformers: the same call gives the same lists.

    Args:
        inner: what `tokenizer.json` holds.
        names: the lists that the model takes, of `input_ids`, `attention_mask` and `token_type_ids`.
        sep_token: what stands between two texts, or None.
        truncation_side: `right` or `left`.
        split_special_tokens: whether a special token that a text spells is taken for text.
        name_or_path: what a sentence calls its model.
    """

    is_fast = True

    def __init__(
        self,
        inner: Tokenizer,
        names: list[str],
        *,
        sep_token: str | None,
        truncation_side: str = "right",
        split_special_tokens: bool = False,
        name_or_path: str = "",
    ):
        self.inner, self.names = inner, names
        self.sep_token, self.truncation_side, self.name_or_path = sep_token, truncation_side, name_or_path
        inner.encode_special_tokens = split_special_tokens
        inner.no_padding()

    def __call__(
        self,
        texts: str | list[str],
        pairs: list[str] | None = None,
        *,
        add_special_tokens: bool = True,
        truncation: bool = False,
        max_length: int | None = None,
        return_offsets_mapping: bool = False,
        verbose: bool = True,
    ) -> Tokens:
        """As a fast tokenizer of transformers', whose texts are all truncated by `longest_first`."""
        if truncation and max_length is not None:
            self.inner.enable_truncation(max_length, strategy="longest_first", direction=self.truncation_side)
        else:
            self.inner.no_truncation()
        single = isinstance(texts, str)
        given: Any = [texts] if single else texts if pairs is None else [*zip(texts, pairs, strict=True)]
        encodings = self.inner.encode_batch(given, add_special_tokens=add_special_tokens)
        of_encoding = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        found = {name: [getattr(encoding, of_encoding[name]) for encoding in encodings] for name in self.names}
        if return_offsets_mapping:
            found["offset_mapping"] = [encoding.offsets for encoding in encodings]
        tokens = Tokens({name: lists[0] if single else lists for name, lists in found.items()})
        tokens.encodings = encodings
        return tokens

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Return how many special tokens stand around a text or a pair."""
        return self.inner.num_special_tokens_to_add(pair)

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str | None]:
        """Return the tokens that ids stand for."""
        return [self.inner.id_to_token(number) for number in ids]
