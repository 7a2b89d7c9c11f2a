"""A tokenizer without transformers gives the very tokens that one of transformers' gives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.trained_tokenizers import like_roberta, like_xlm_roberta
from tokenizers import Tokenizer
from transformers import BertConfig, BertTokenizerFast

from bert_recipes.columns import JOINT
from bert_recipes.config.reading import LONG_TEXTS, Reading
from bert_recipes.data import shortening
from bert_recipes.data.shortening import CHARACTERS_PER_TOKEN
from bert_recipes.data.texts_to_tokens import TokensOfTexts
from bert_recipes.data.tokenization import TextTokenizer
from bert_recipes.data.tokenizer_like import BareTokenizer
from bert_recipes.errors import UserError

PARTS = [
    "fire ",
    "storm",
    "x",
    ",",
    "é",
    "e\u0301",
    "火",
    " ",
    "\n",
    "  \t ",
    "🔥",
    "[SEP]",
    "</s>",
    "<mask>",
    JOINT,
    "\0",
]
CONFIG = BertConfig(vocab_size=400)


@pytest.fixture(params=["bert", "roberta", "xlm-roberta"])
def theirs(request, tokenizer):
    if request.param == "bert":
        return BertTokenizerFast(vocab=tokenizer.get_vocab(), model_max_length=64)
    return {"roberta": like_roberta, "xlm-roberta": like_xlm_roberta}[request.param]()


def bare(theirs, **options):
    """Return the same tokenizer as an export holds it."""
    inner = Tokenizer.from_str(theirs.backend_tokenizer.to_str())
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if "token_type_ids" in theirs("a") else [])]
    return BareTokenizer(inner, names, sep_token=theirs.sep_token, truncation_side=theirs.truncation_side, **options)


def ours(theirs, length, reading, **options):
    return TokensOfTexts(bare(theirs, **options), length, reading, takes_token_types=True)


# 9 has no room for both texts of most pairs; with 64 few are truncated.
@pytest.mark.parametrize("length", [9, 64])
@pytest.mark.parametrize(
    ("mode", "paired"), [(mode, False) for mode in (None, *LONG_TEXTS)] + [(None, True), ("tail", True)]
)
def test_every_way_of_reading_gives_the_same_tokens(mode, paired, length, theirs, monkeypatch):
    # Texts of some hundred characters are cut already.
    monkeypatch.setattr(shortening, "CHARACTERS_PER_TOKEN", (2, 8, CHARACTERS_PER_TOKEN[-1]))
    reading = Reading(mode, **({"stride": 2, "max_windows": 3} if mode == "windows" else {}))
    mine, expected = ours(theirs, length, reading), TextTokenizer(theirs, CONFIG, length, reading)
    text = st.lists(st.tuples(st.sampled_from(PARTS), st.sampled_from([0, 1, 3, 90])), max_size=3)

    @settings(max_examples=15, deadline=None)
    @given(st.lists(st.tuples(text, text), min_size=1, max_size=3))
    def check(rows):
        texts, pairs = (["".join(part * n for part, n in row[i]) for row in rows] for i in (0, 1))
        assert mine(texts, pairs if paired else None) == expected(texts, pairs if paired else None)

    check()


def test_a_tokenizer_that_truncates_at_its_left_does_so_here(theirs):
    theirs.truncation_side = "left"
    texts = ["fire " * 40 + "storm"]
    assert ours(theirs, 9, None)(texts) == TextTokenizer(theirs, CONFIG, 9)(texts)


@pytest.mark.parametrize("split", [False, True])
def test_special_tokens_that_a_text_spells_are_tokens_or_text(split, theirs):
    theirs.split_special_tokens = split
    texts = [f"fire {theirs.sep_token} storm"]
    assert ours(theirs, 32, None, split_special_tokens=split)(texts) == TextTokenizer(theirs, CONFIG, 32)(texts)


def test_a_token_beyond_the_embeddings_is_refused_as_in_training(tokenizer):
    masking = BertTokenizerFast(vocab=tokenizer.get_vocab(), mask_token="[BLANK]")
    to_tokens = TokensOfTexts(
        bare(masking, name_or_path="runs/x/export"), 8, takes_token_types=True, embeddings=len(tokenizer)
    )
    assert to_tokens(["fire"]) == TextTokenizer(tokenizer, CONFIG, 8)(["fire"])
    with pytest.raises(UserError, match=r"a text holds \[BLANK\], for which --model runs/x/export has a token and no"):
        to_tokens(["a [BLANK] storm"])


def test_what_a_saved_tokenizer_was_left_to_do_is_not_done(tokenizer):
    left = BertTokenizerFast(vocab=tokenizer.get_vocab(), model_max_length=64)
    left(["fire in a storm"] * 2, padding="max_length", truncation=True, max_length=4)
    expected = TextTokenizer(tokenizer, CONFIG, 16)(["fire in a storm", "fire"])
    assert ours(left, 16, None)(["fire in a storm", "fire"]) == expected
