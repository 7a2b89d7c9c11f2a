"""From texts to tokens."""

import sys
from typing import Any

from accelerate import PartialState
from datasets import DatasetDict
from transformers import AutoConfig, PretrainedConfig, PreTrainedTokenizerBase

from bert_recipes.columns import LENGTH, ROW, TEXT, TEXT_PAIR, TRUNCATED
from bert_recipes.errors import UserError

# Families whose position ids start after the padding id: `pad_token_id + 1` of their positions are never used.
POSITIONS_AFTER_PADDING = {"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl", "roberta-prelayernorm"}
POSITIONS_AFTER_PADDING |= {"data2vec-text", "ibert", "xmod"}


def positions_of(config: PretrainedConfig) -> int:
    """Return how many tokens a model of this configuration has positions for."""
    config = getattr(config, "encoder", None) or config
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


def takes_token_types(config: PretrainedConfig) -> bool:
    """Whether a model of this configuration tells the two texts of a pair apart by token type ids.

    RoBERTa has an embedding for a single type, though a tokenizer that came with it may make two.
    """
    config = getattr(config, "encoder", None) or config
    return (getattr(config, "type_vocab_size", None) or 0) > 1


def tokenize(splits: DatasetDict, tokenizer: PreTrainedTokenizerBase, max_length: int, model_dir: str) -> DatasetDict:
    """Add `input_ids`, the masks the tokenizer makes, `row`, `length` and `truncated` to every row.

    Nothing is padded here: the collator pads each batch to its own longest row.

    Args:
        splits: as `load_data` returns them.
        tokenizer: of the model.
        max_length: tokens a text is cut to, special tokens included.
        model_dir: the model's folder.

    Raises:
        UserError: `max_length` is more than the model takes.
    """
    config = AutoConfig.from_pretrained(model_dir)
    check_max_length(max_length, tokenizer, config)
    # A padded first token would not be [CLS], and positions would shift with the padding.
    tokenizer.padding_side = "right"
    types = takes_token_types(config)
    # The first call leaves its truncation in the tokenizer's state, which is part of the fingerprint of the cache.
    tokenizer("", truncation=True, max_length=max_length)

    def encode(batch: dict[str, list[Any]], numbers: list[int]) -> dict[str, Any]:
        texts = (batch[TEXT], batch[TEXT_PAIR]) if TEXT_PAIR in batch else (batch[TEXT],)
        tokens = tokenizer(*texts, truncation=True, max_length=max_length)
        if not types:
            tokens.pop("token_type_ids", None)
        return {
            **tokens,
            ROW: numbers,
            LENGTH: [len(ids) for ids in tokens["input_ids"]],
            TRUNCATED: [bool(encoding.overflowing) for encoding in tokens.encodings],
        }

    with PartialState().main_process_first():
        return DatasetDict(
            {split: rows.map(encode, batched=True, with_indices=True) for split, rows in splits.items()}
        )
