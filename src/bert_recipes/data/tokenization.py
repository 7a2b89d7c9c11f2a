"""From texts to tokens, the same way in training and in prediction."""

import itertools
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from accelerate import PartialState
from datasets import Dataset, DatasetDict
from transformers import AutoConfig, PretrainedConfig, PreTrainedTokenizerBase

from bert_recipes import terminal
from bert_recipes.columns import LENGTH, NUM_WINDOWS, ROW, TEXT, TEXT_PAIR, TRUNCATED
from bert_recipes.config.reading import Reading
from bert_recipes.data.normalization import normalization_in_words, rewritten_kinds
from bert_recipes.data.texts_to_tokens import HOW_TO_RESIZE, TokensOfTexts
from bert_recipes.errors import UserError, some

# Families whose position ids start after the padding id: `pad_token_id + 1` of their positions are never used.
POSITIONS_AFTER_PADDING = {"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl", "roberta-prelayernorm"}
POSITIONS_AFTER_PADDING |= {"data2vec-text", "ibert", "xmod"}
# So large a share of unknown tokens, in so many rows, is worth a word.
MUCH_UNKNOWN, SAMPLED_ROWS = 0.03, 1000


def encoder_of(config: PretrainedConfig) -> Any:
    """Return the encoder's part of a model's configuration: all of it, but for a model of the custom recipe."""
    encoder = getattr(config, "encoder", None) or config
    # That of an architecture of its own stays a dict for as long as its code does not run.
    return SimpleNamespace(**encoder) if isinstance(encoder, dict) else encoder


def positions_of(config: PretrainedConfig) -> int:
    """Return how many tokens a model of this configuration has positions for."""
    config = encoder_of(config)
    positions = getattr(config, "max_position_embeddings", None) or 0
    if positions <= 0:  # as XLNet says that it has no limit
        return sys.maxsize
    return positions - (config.pad_token_id + 1 if config.model_type in POSITIONS_AFTER_PADDING else 0)


def most_tokens(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> int:
    """Return the most tokens of a text that a model and its tokenizer take, special tokens included."""
    return min(tokenizer.model_max_length, positions_of(config))


def check_max_length(max_length: int, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
    """Check `--max_length` against a model.

    Raises:
        UserError: it is more than the model takes.
    """
    most = most_tokens(tokenizer, config)
    if max_length > most:
        raise UserError(f"--max_length {max_length} is more than the {most} that the model takes.")


def check_tokenizer(tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> int | None:
    """Check that a tokenizer fits a model: it can pad, and the model has an embedding for every id that texts become.

    An entry of the vocabulary beyond the embeddings is an error, since a text may hold it at any row. A special token
    beyond them that is never inserted, as a `[MASK]` that the tokenizer added, is none: few texts spell it.

    Returns:
        The number of embeddings where special tokens lie beyond them, so that each text has to be looked at, or None.

    Raises:
        UserError: it does not fit.
    """
    name = tokenizer.name_or_path
    if tokenizer.pad_token_id is None:
        raise UserError(
            f"--model {name} has a tokenizer without a padding token, which batches of texts need: choose a token "
            "that it has (tokenizer.pad_token = tokenizer.eos_token) and save it with tokenizer.save_pretrained."
        )
    rows = getattr(encoder_of(config), "vocab_size", None)
    if rows is None:  # CANINE hashes characters
        return None
    beyond = {token: number for token, number in tokenizer.get_vocab().items() if number >= rows}
    inserted = {*tokenizer("")["input_ids"], tokenizer.pad_token_id, tokenizer.unk_token_id}
    seldom = set(tokenizer.all_special_tokens)
    refused = [
        token
        for token in sorted(beyond, key=lambda token: beyond[token])
        if beyond[token] in inserted or token not in seldom
    ]
    if refused:
        raise UserError(
            f"--model {name} has a tokenizer whose ids reach {max(beyond.values())}, and embeddings for {rows} ids "
            f"only ({some(refused)} lie beyond): {HOW_TO_RESIZE}."
        )
    return rows if beyond else None


def takes_token_types(config: PretrainedConfig) -> bool:
    """Whether a model of this configuration tells the two texts of a pair apart by token type ids.

    RoBERTa has an embedding for a single type, though a tokenizer that came with it may make two.
    """
    return (getattr(encoder_of(config), "type_vocab_size", None) or 0) > 1


class TextTokenizer(TokensOfTexts):
    """What turns texts into the tokens that a model takes.

    Args:
        tokenizer: the model's own; it is left truncating at the side that `reading` says.
        config: the model's.
        max_length: tokens a text is cut to, or a window of it, special tokens included.
        reading: which tokens of a longer text are read.

    Raises:
        UserError: the tokenizer does not fit the model, `max_length` is more than it takes, or `reading` does not fit
            `max_length`.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        config: PretrainedConfig,
        max_length: int,
        reading: Reading | None = None,
    ):
        check_max_length(max_length, tokenizer, config)
        embeddings = check_tokenizer(tokenizer, config)
        super().__init__(
            tokenizer, max_length, reading, takes_token_types=takes_token_types(config), embeddings=embeddings
        )


def tokenize(
    splits: DatasetDict,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    model_dir: str,
    trust_remote_code: bool = False,
    reading: Reading | None = None,
) -> DatasetDict:
    """Add `input_ids`, the masks the tokenizer makes, `row`, `length` and `truncated` to every row.

    A row that is read in windows has a list of `input_ids` for each, `num_windows`, and the tokens of all as `length`.
    Nothing is padded here: the collator pads each batch to its own longest row.

    Args:
        splits: as `load_data` returns them.
        tokenizer: of the model.
        max_length: tokens a text is cut to, or a window of it, special tokens included.
        model_dir: the model's folder.
        trust_remote_code: whether code that the model carries may run.
        reading: which tokens of a longer text are read.

    Raises:
        UserError: `max_length` is more than the model takes, the tokenizer does not fit the model, or the texts cannot
            be read so.
    """
    # A padded first token would not be [CLS], and positions would shift with the padding.
    tokenizer.padding_side = "right"
    config = AutoConfig.from_pretrained(model_dir, trust_remote_code=trust_remote_code)
    to_tokens = TextTokenizer(tokenizer, config, max_length, reading)

    def encode(batch: dict[str, list[Any]], numbers: list[int]) -> dict[str, Any]:
        tokens, truncated = to_tokens(batch[TEXT], batch.get(TEXT_PAIR))
        ids = tokens["input_ids"]
        counts = {NUM_WINDOWS: [len(windows) for windows in ids]} if to_tokens.in_windows else {}
        lengths = [sum(map(len, row)) if to_tokens.in_windows else len(row) for row in ids]
        return {**tokens, ROW: numbers, LENGTH: lengths, TRUNCATED: truncated, **counts}

    with PartialState().main_process_first():
        tokenized = DatasetDict(
            {split: rows.map(encode, batched=True, with_indices=True) for split, rows in splits.items()}
        )
    if kinds := rewritten_kinds(tokenizer):
        terminal.say(normalization_in_words(kinds), style="dim")
    share = _unknown_share(next(iter(tokenized.values())), tokenizer.unk_token_id)
    if share > MUCH_UNKNOWN:
        terminal.warn(
            f"{share:.0%} of the tokens are {tokenizer.unk_token}: the model's vocabulary does not have the texts' "
            "language or signs. Another --model may, such as klue/bert-base for Korean or FacebookAI/xlm-roberta-base "
            "for a hundred languages."
        )
    return tokenized


def _unknown_share(rows: Dataset, unknown: int | None) -> float:
    """Return the share of tokens of the first rows that stand for what the vocabulary does not have."""
    lists = rows[:SAMPLED_ROWS]["input_ids"]
    flat = np.fromiter(itertools.chain.from_iterable(_flattened(lists)), dtype=np.int64)
    return float((flat == unknown).mean()) if len(flat) and unknown is not None else 0.0


def _flattened(lists: list[Any]) -> Iterator[list[int]]:
    for row in lists:
        yield from row if row and isinstance(row[0], list) else [row]
