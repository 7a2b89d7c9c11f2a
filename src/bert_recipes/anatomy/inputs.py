"""What goes in: the tokenizer's answer, and which of its arrays a model cannot do without."""

import unicodedata
from typing import Any

import torch
from transformers import BatchEncoding, PreTrainedTokenizerBase

from bert_recipes.anatomy.probes import PROBES
from bert_recipes.anatomy.tour import (
    Block,
    Cell,
    Check,
    Code,
    Printed,
    Said,
    Station,
    Table,
    Tokens,
    Tour,
    numbers,
    shape,
    source_of,
)

UNSEEN_SIGN = "☂"  # no vocabulary of BERT's has it, and every font does
MAX_LENGTH, SHORT = 16, 6


def encode(tokenizer, text: str, second: str):
    """Encode a text as it is, padded, cut, and as a pair of texts."""
    as_it_is = tokenizer(text)
    padded = tokenizer(text, max_length=MAX_LENGTH, padding="max_length", truncation=True)
    cut = tokenizer(text, max_length=SHORT, truncation=True)
    pair = tokenizer(text, second)
    return as_it_is, padded, cut, pair


def as_tensors(tokenizer, texts: list[str]):
    """Ask for tensors without padding, and with it."""
    try:
        unpadded = type(tokenizer(texts, return_tensors="pt")["input_ids"]).__name__
    except ValueError as error:
        unpadded = type(error).__name__
    return unpadded, tokenizer(texts, padding=True, return_tensors="pt")


def tokenizer(tour: Tour) -> Station:
    """From a sentence to ids, type ids and mask."""
    made = tour.tokenizer
    second = tour.probe.pair
    as_it_is, padded, cut, pair = encode(made, tour.text, second)
    unpadded, batch = as_tensors(made, [tour.text, second])
    special: list[list[Cell]] = [
        [Code(getattr(made, f"{name}_token")), Code(getattr(made, f"{name}_token_id")), Said(f"for_{name}")]
        for name in ("cls", "sep", "pad", "unk", "mask")
        if getattr(made, f"{name}_token") is not None
    ]
    kinds: list[list[Cell]] = [
        [Code("tokenizer(text)"), Code(type(as_it_is["input_ids"]).__name__), Code([len(as_it_is["input_ids"])])],
        [Code('tokenizer(texts, return_tensors="pt")'), Code(unpadded), ""],
        [
            Code('tokenizer(texts, padding=True, return_tensors="pt")'),
            Code(type(batch["input_ids"]).__name__),
            shape(batch["input_ids"]),
        ],
    ]
    blocks: list[Block] = [
        Printed(_as_printed(as_it_is), Said("printed")),
        Table(kinds, [Said("call"), Code("input_ids"), Said("shape")], title=Said("tensors")),
        Tokens(_columns(made, padded), Said("padded", length=MAX_LENGTH)),
        Tokens(_columns(made, cut), Said("cut", length=SHORT)),
        Tokens(_columns(made, pair), Said("pair")),
        Table(special, [Said("token"), Said("id"), Said("what_for")], title=Said("special")),
    ]
    is_pad = [token == made.pad_token_id for token in padded["input_ids"]]
    checks = [
        Check(
            Said("mask_marks_padding", length=MAX_LENGTH),
            len(is_pad) == MAX_LENGTH and [1 - pad for pad in is_pad] == padded["attention_mask"],
        ),
        Check(
            Said("ends_kept", length=SHORT, cls=made.cls_token, sep=made.sep_token),
            len(cut["input_ids"]) == SHORT
            and (cut["input_ids"][0], cut["input_ids"][-1]) == (made.cls_token_id, made.sep_token_id),
        ),
        Check(
            Said("padding_first"),
            len(made(tour.text)["input_ids"]) == len(made(second)["input_ids"]) or unpadded == "ValueError",
        ),
    ]
    seen, unseen_checks = _unseen(made, tour.probe.word if tour.script in PROBES else None)
    blocks += seen
    checks += unseen_checks
    if "token_type_ids" not in pair:
        return Station("tokenizer", source_of(encode, as_tensors), blocks, checks, elsewhere=Said("no_types"))
    types, seconds = pair["token_type_ids"], [number == 1 for number in pair.sequence_ids()]
    checks.append(Check(Said("types_tell"), all(t == 1 for t, s in zip(types, seconds, strict=True) if s)))
    return Station("tokenizer", source_of(encode, as_tensors), blocks, checks)


def _unseen(made: PreTrainedTokenizerBase, word: str | None) -> tuple[list[Block], list[Check]]:
    """Return what the tokenizer makes of a word and of a sign that it has not seen, and what of that was checked."""
    rows, checks = [], []
    blocks: list[Block] = []
    pieces = [] if word is None else made.tokenize(word)
    if word is not None and len(pieces) > 1 and made.unk_token not in pieces:
        rows.append([Code(word), Code(" ".join(pieces))])
        joined = made.convert_tokens_to_string(pieces).strip()
        # A vocabulary without accents takes letters apart.
        checks.append(Check(Said("word_in_pieces"), unicodedata.normalize("NFC", joined) == word))
    else:
        blocks.append(Said("no_unseen_word"))
    sign = made.tokenize(UNSEEN_SIGN)
    rows.append([Code(UNSEEN_SIGN), Code(" ".join(sign))])
    if made.unk_token is not None and made.unk_token in sign:
        checks.append(Check(Said("sign_unknown", unk=made.unk_token), sign == [made.unk_token]))
    lost = Said("irreversible" if sign == [made.unk_token] else "reversible")
    return [Table(rows, [Said("unseen"), Said("pieces")], title=Said("outside")), *blocks, lost], checks


def _as_printed(encoding: BatchEncoding) -> str:
    lines = (f"{name!r}: {values}" for name, values in encoding.items())
    return "{" + ",\n ".join(lines) + "}"


def _columns(made: PreTrainedTokenizerBase, encoding: BatchEncoding) -> list[tuple[Any, ...]]:
    tokens = made.convert_ids_to_tokens(encoding["input_ids"])
    types = encoding.get("token_type_ids", [None] * len(tokens))
    return list(zip(tokens, encoding["input_ids"], types, encoding["attention_mask"], strict=True))


@torch.no_grad()
def moved_without(model, inputs, name):
    """Return how far the logits move when one of the tokenizer's arrays is left out."""
    fewer = {key: values for key, values in inputs.items() if key != name}
    return (model(**inputs).logits - model(**fewer).logits).abs().max().item()


def _only_then(alone: float, then: float) -> bool:
    # A model of random weights moves little, but still far more than rounding does.
    return alone < 1e-5 and then > max(1e-8, 10 * alone)


def needed(tour: Tour) -> Station:
    """Which of the tokenizer's arrays the model cannot do without."""
    one = tour.tokenizer(tour.text, truncation=True, max_length=64, return_tensors="pt")
    padded = tour.tokenizer(
        tour.text, max_length=len(one["input_ids"][0]) + 8, padding="max_length", truncation=True, return_tensors="pt"
    )
    pair = tour.tokenizer(tour.text, tour.probe.pair, truncation=True, max_length=64, return_tensors="pt")
    mask_alone, mask_padded = (moved_without(tour.stock, each, "attention_mask") for each in (one, padded))
    rows: list[list[Cell]] = [
        [Code("attention_mask"), Said("one_text"), numbers(mask_alone)],
        [Code("attention_mask"), Said("padded_text"), numbers(mask_padded)],
    ]
    checks = [
        Check(Said("mask_if_padded"), _only_then(mask_alone, mask_padded)),
    ]
    elsewhere = None
    if "token_type_ids" in pair and getattr(tour.plain.config, "type_vocab_size", 0) > 1:
        type_alone, type_pair = (moved_without(tour.stock, each, "token_type_ids") for each in (one, pair))
        rows += [
            [Code("token_type_ids"), Said("one_text"), numbers(type_alone)],
            [Code("token_type_ids"), Said("pair"), numbers(type_pair)],
        ]
        checks.append(Check(Said("types_if_pair"), _only_then(type_alone, type_pair)))
    else:
        elsewhere = Said("no_types")
    header = [Said("left_out"), Said("input"), Said("moved")]
    return Station("needed", source_of(moved_without), [Table(rows, header)], checks, elsewhere=elsewhere)
