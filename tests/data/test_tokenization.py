"""Texts are truncated, counted, and tokenized once; the tokenizer has to fit the model."""

import sys

import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st
from support.encoders import FAMILY
from support.reading import ROWS, read
from support.rows import WORDS
from support.started import run
from support.trained_tokenizers import like_bertweet, like_roberta, like_xlm_roberta, sizes_of
from transformers import BertConfig, BertTokenizerFast

from bert_recipes.columns import JOINT
from bert_recipes.data import shortening, texts_to_tokens
from bert_recipes.data.shortening import CHARACTERS_PER_TOKEN, MARGIN
from bert_recipes.data.tokenization import TextTokenizer, tokenize
from bert_recipes.errors import UserError

LENGTH = 8
# What a text may consist of, as far as cutting it is concerned.
PARTS = ["fire ", "storm", "x", ",", "é", "e\u0301", "火", " ", "\n", "  \t ", "🔥", "of a ", "[SEP]", "</s>"]
CONFIG = BertConfig(vocab_size=400)


@pytest.fixture(params=["bert", "roberta", "xlm-roberta", "bertweet"])
def any_tokenizer(request, tokenizer, tmp_path):
    if request.param == "bert":
        return BertTokenizerFast(vocab=tokenizer.get_vocab(), model_max_length=64)
    if request.param == "bertweet":
        return like_bertweet(tmp_path)
    return {"roberta": like_roberta, "xlm-roberta": like_xlm_roberta}[request.param]()


def test_tokenizing_cuts_and_counts(tokenizer, tiny_bert, folder):
    (folder / "train.csv").write_text("text,label\n" + "\n".join(f"fire {'flood ' * i},{i % 2}" for i in range(20)))
    tokens = tokenize(read(folder).splits, tokenizer, 8, str(tiny_bert))["train"]
    assert max(tokens["length"]) == 8
    for text, truncated in zip(tokens["text"], tokens["truncated"], strict=True):
        assert truncated == (len(text.split()) + 2 > 8)


@pytest.mark.parametrize("mode", [*(pytest.param(m, marks=pytest.mark.slow) for m in (None, "head_tail")), "windows"])
def test_a_second_process_reads_tokens_from_the_cache(mode, folder, tiny_bert, tmp_path):
    (folder / "train.csv").write_text("id,text,label\n" + ROWS)
    code = (
        "import sys, datasets; datasets.config.HF_DATASETS_CACHE = sys.argv[4];"
        "from transformers import AutoTokenizer; from bert_recipes import load_data, tokenize;"
        "from bert_recipes import DataArguments;"
        f"args = DataArguments(dataset=sys.argv[1], long_texts={mode!r}); data = load_data(args);"
        "tokenizer = AutoTokenizer.from_pretrained(sys.argv[2]);"
        "tokenize(data.splits, tokenizer, int(sys.argv[3]), sys.argv[2], reading=args.reading)"
    )

    def files(max_length):
        run([sys.executable, "-c", code, folder, tiny_bert, max_length, tmp_path / "datasets"], check=True)
        return {path.name for path in (tmp_path / "datasets").rglob("*.arrow")}

    first = files(16)
    assert len(first) >= 4
    assert files(16) == first
    assert len(files(8)) == len(first) + 2


def plain(tokenizer, length, texts, pairs):
    """Return what the tokenizer alone makes of whole texts, and which of them it truncates."""
    both = (texts,) if pairs is None else (texts, pairs)
    tokens = tokenizer(*both, truncation=True, max_length=length)["input_ids"]
    whole = tokenizer(*both, verbose=False)["input_ids"]
    return tokens, [len(all_ids) > len(ids) for all_ids, ids in zip(whole, tokens, strict=True)]


@pytest.mark.parametrize("side", ["right", "left"])
# Of a pair both texts decide where each is truncated, and one of an odd number of tokens is the longer one's.
@pytest.mark.parametrize(("paired", "length"), [(False, 8), (True, 32), (True, 33)])
def test_no_text_is_cut_where_that_would_change_its_tokens(any_tokenizer, side, paired, length, monkeypatch):
    any_tokenizer.truncation_side = side
    monkeypatch.setattr(texts_to_tokens, "CHARACTERS_AT_ONCE", 10_000)
    # Texts of some hundred characters are cut already.
    monkeypatch.setattr(shortening, "CHARACTERS_PER_TOKEN", (2, 8, CHARACTERS_PER_TOKEN[-1]))
    to_tokens = TextTokenizer(any_tokenizer, CONFIG, length)
    counts = st.sampled_from([0, 1, 2, 7, 90, *([200] if paired else [300, 900])])
    text = st.lists(st.tuples(st.sampled_from(PARTS), counts), max_size=3)
    # A tokenizer that is not fast takes its time.
    rounds = 40 if any_tokenizer.is_fast else 10

    @settings(max_examples=rounds, deadline=None)
    @given(st.lists(st.tuples(text, text), min_size=1, max_size=4))
    def check(rows):
        texts, pairs = (["".join(part * n for part, n in row[i]) for row in rows] for i in (0, 1))
        tokens, truncated = to_tokens(texts, pairs if paired else None)
        # A text that spells what joins columns is read as joined ones are.
        texts, pairs = ([text.replace(JOINT, to_tokens.joint) for text in part] for part in (texts, pairs))
        assert (tokens["input_ids"], truncated) == plain(any_tokenizer, length, texts, pairs if paired else None)

    check()


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("cell", ["fire in a storm ", "火", "x", " "])
def test_a_cell_of_many_megabytes_is_cut_before_it_is_tokenized(cell, side, any_tokenizer, monkeypatch):
    any_tokenizer.truncation_side = side
    to_tokens = TextTokenizer(any_tokenizer, CONFIG, LENGTH)
    text = cell * (5_000_000 // len(cell))
    seen = sizes_of(any_tokenizer, monkeypatch)
    tokens, truncated = to_tokens([text, "fire"])
    most = CHARACTERS_PER_TOKEN[-1] * (LENGTH + MARGIN)
    assert max(seen) <= most + len("fire")
    assert truncated == [True, False]
    seen.clear()
    assert to_tokens([text], [text])[1] == [True]
    assert max(seen) <= 2 * most
    part = text[:most] if side == "right" else text[-most:]
    assert tokens["input_ids"][0] == any_tokenizer(part, truncation=True, max_length=LENGTH)["input_ids"]


def test_texts_are_tokenized_a_part_at_a_time(tokenizer, monkeypatch):
    to_tokens = TextTokenizer(tokenizer, CONFIG, LENGTH)
    texts = [word * 100 for word in WORDS]
    expected = to_tokens(texts)
    monkeypatch.setattr(texts_to_tokens, "CHARACTERS_AT_ONCE", 1000)
    seen = sizes_of(tokenizer, monkeypatch)
    assert to_tokens(texts) == expected
    assert len(seen) > 1
    assert max(seen) < 2000


def test_columns_are_joined_by_the_tokenizers_own_separator(any_tokenizer):
    tokens, _ = TextTokenizer(any_tokenizer, CONFIG, 32)([JOINT.join(["fire", "cake"])])
    ids = tokens["input_ids"][0]
    assert ids.count(any_tokenizer.sep_token_id) == 2  # between the two, and at the end
    between = ids.index(any_tokenizer.sep_token_id)
    assert ids[1:between] == any_tokenizer("fire", add_special_tokens=False)["input_ids"]


def test_where_there_is_no_separator_columns_are_joined_by_a_line_break():
    tokenizer = like_roberta()
    tokenizer.sep_token = None
    tokens, _ = TextTokenizer(tokenizer, CONFIG, 32)([JOINT.join(["fire", "cake"])])
    assert tokens == dict(tokenizer(["fire\ncake"]))


# The tokenizer and the model


def test_a_tokenizer_without_a_padding_token_is_refused(tokenizer, tmp_path):
    without = like_roberta()
    without.pad_token = None
    with pytest.raises(UserError, match=r"has a tokenizer without a padding token.*tokenizer\.pad_token = "):
        TextTokenizer(without, CONFIG, 8)


def test_ids_beyond_the_embeddings_are_refused(tokenizer):
    more = BertTokenizerFast(vocab=tokenizer.get_vocab(), model_max_length=64)
    more.add_tokens(["wildfire", "heat"])
    with pytest.raises(UserError, match=r"ids reach 19, and embeddings for 18 ids only \(wildfire, heat lie beyond\)"):
        TextTokenizer(more, BertConfig(vocab_size=18), 8)
    TextTokenizer(more, BertConfig(vocab_size=20), 8)
    # Batches are padded with this one, whether or not a text holds it.
    padding = BertTokenizerFast(vocab=tokenizer.get_vocab(), pad_token="[PADDING]")
    with pytest.raises(
        UserError, match=r"\[PADDING\] lie beyond\): save the model again after model\.resize_token_emb"
    ):
        TextTokenizer(padding, BertConfig(vocab_size=18), 8)


def test_a_special_token_beyond_the_embeddings_is_refused_where_a_text_spells_it(tokenizer):
    # As transformers adds it to a vocabulary without one.
    masking = BertTokenizerFast(vocab=tokenizer.get_vocab(), mask_token="[BLANK]")
    to_tokens = TextTokenizer(masking, BertConfig(vocab_size=18), 8)
    assert to_tokens(["fire in a storm"])[0]["input_ids"] == tokenizer(["fire in a storm"])["input_ids"]
    with pytest.raises(UserError, match=r"a text holds \[BLANK\], for which --model .* has a token and no embedding"):
        to_tokens(["fire", "a [BLANK] storm"])


def test_a_model_without_a_vocabulary_takes_every_id(tokenizer):
    config = BertConfig()
    del config.vocab_size
    assert TextTokenizer(tokenizer, config, 8).embeddings is None


def test_a_tokenizer_that_is_not_fast_gives_what_training_needs(tmp_path, folder):
    tokenizer = like_bertweet(tmp_path)
    (folder / "train.csv").write_text("text,label\n" + "\n".join(f"{'of ' * (i + 1)},{i % 2}" for i in range(20)))
    FAMILY["roberta"].save_pretrained(tmp_path)
    config = FAMILY["roberta"].to_dict() | {"vocab_size": len(tokenizer)}
    type(FAMILY["roberta"]).from_dict(config).save_pretrained(tmp_path)
    tokens = tokenize(read(folder).splits, tokenizer, 8, str(tmp_path))["train"]
    for text, length, truncated in zip(tokens["text"], tokens["length"], tokens["truncated"], strict=True):
        words = len(text.split())
        assert (length, truncated) == (min(words + 2, 8), words + 2 > 8)


@pytest.mark.parametrize(("text", "warned"), [("\u1234\u1235 fire", True), ("fire in a storm", False)])
def test_texts_that_the_vocabulary_does_not_know_are_warned_of(text, warned, tokenizer, tiny_bert, capsys):
    splits = DatasetDict(train=Dataset.from_dict({"text": [text] * 3}))
    tokenize(splits, tokenizer, 16, str(tiny_bert))
    assert ("of the tokens are [UNK]" in " ".join(capsys.readouterr().out.split())) == warned
