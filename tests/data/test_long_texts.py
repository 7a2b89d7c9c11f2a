"""Head, tail, both, or windows: the tokens of a long text that are read, and how a text is cut for them."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.reading import read
from support.trained_tokenizers import like_bertweet, like_roberta, like_xlm_roberta, sizes_of
from tokenizers import processors
from transformers import BertConfig, BertTokenizerFast

from bert_recipes.columns import JOINT
from bert_recipes.config.reading import LONG_TEXTS, Reading
from bert_recipes.data import shortening
from bert_recipes.data.shortening import CHARACTERS_PER_TOKEN, MARGIN
from bert_recipes.data.summary import show_data
from bert_recipes.data.tokenization import TextTokenizer, tokenize
from bert_recipes.errors import UserError

CONFIG = BertConfig(vocab_size=400)
PARTS = ["fire ", "storm", "x", ",", "e\u0301", "火", " ", "\n", "🔥", "of a ", "[SEP]", "</s>"]


def like_xlnet():
    """Return a tokenizer whose special tokens are all at the end."""
    tokenizer = like_xlm_roberta()
    ends = [("</s>", 2), ("<s>", 0)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("$A </s> <s>", None, ends)
    return tokenizer


def like_gpt():
    """Return a tokenizer without any around a text."""
    tokenizer = like_roberta()
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel()
    return tokenizer


@pytest.fixture(params=["bert", "roberta", "xlnet", "gpt", "bertweet"])
def any_tokenizer(request, tokenizer, tmp_path):
    if request.param == "bert":
        return BertTokenizerFast(vocab=tokenizer.get_vocab(), model_max_length=64)
    if request.param == "bertweet":
        return like_bertweet(tmp_path)
    return {"roberta": like_roberta, "xlnet": like_xlnet, "gpt": like_gpt}[request.param]()


def inside(tokenizer, ids):
    """Return the ids of a text without the special tokens around them."""
    special = len(tokenizer("")["input_ids"])
    before = (
        0 if tokenizer("fire")["input_ids"][0] == tokenizer("fire", add_special_tokens=False)["input_ids"][0] else 1
    )
    return ids[before : len(ids) - special + before]


texts = st.lists(
    st.lists(st.tuples(st.sampled_from(PARTS), st.sampled_from([0, 1, 2, 7, 40])), max_size=4).map(
        lambda parts: "".join(part * n for part, n in parts)
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(texts=texts, length=st.integers(5, 20), stride=st.integers(0, 2))
def test_windows_are_those_of_transformers(tokenizer, texts, length, stride):
    for fast in (BertTokenizerFast(vocab=tokenizer.get_vocab(), model_max_length=64), like_roberta()):
        to_tokens = TextTokenizer(fast, CONFIG, length, Reading("windows", stride, 1000))
        windows, truncated = to_tokens(texts)
        for i, text in enumerate(texts):
            options = {"truncation": True, "max_length": length, "stride": stride, "return_overflowing_tokens": True}
            # What joins columns becomes the tokenizer's own separator.
            theirs = fast(text.replace(JOINT, to_tokens.joint), **options)
            assert windows["input_ids"][i] == theirs["input_ids"]
            assert windows["attention_mask"][i] == theirs["attention_mask"]
        assert truncated == [False] * len(texts)


def test_the_windows_of_any_tokenizer_together_are_the_text(any_tokenizer):
    text = "fire in a storm, of cake " * 9
    to_tokens = TextTokenizer(any_tokenizer, CONFIG, 16, Reading("windows", 5))
    (windows,) = to_tokens([text])[0]["input_ids"]
    assert max(map(len, windows)) == 16
    first, *others = (inside(any_tokenizer, window) for window in windows)
    assert len(others) > 2
    whole = any_tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    assert [*first, *itertools.chain(*(window[5:] for window in others))] == whole
    assert all(a[-5:] == b[:5] for a, b in itertools.pairwise([first, *others]))


def test_head_and_tail_by_hand(tokenizer):
    ids = tokenizer.convert_tokens_to_ids
    words = ["fire", "flood", "storm", "smoke", "rescue", "lovely", "sunny", "party", "cake", "music"]
    found = {}
    for mode in ("head", "tail", "head_tail"):
        own = BertTokenizerFast(vocab=tokenizer.get_vocab(), model_max_length=64)
        tokens, truncated = TextTokenizer(own, CONFIG, 8, Reading(mode))([" ".join(words), "fire in a storm"])
        assert truncated == [True, False]
        assert tokens["input_ids"][1] == tokenizer("fire in a storm")["input_ids"]
        assert tokens["attention_mask"][0] == [1] * 8
        found[mode] = tokens["input_ids"][0]
        # What a pipeline then does by itself.
        assert own.truncation_side == ("left" if mode == "tail" else "right")
    kept = {"head": words[:6], "tail": words[-6:], "head_tail": words[:2] + words[-4:]}
    assert found == {mode: ids(["[CLS]", *kept[mode], "[SEP]"]) for mode in kept}


def test_unset_it_is_the_tokenizers_own_side(any_tokenizer):
    text = "fire in a storm of cake"
    for side in ("left", "right"):
        any_tokenizer.truncation_side = side
        tokens, _ = TextTokenizer(any_tokenizer, CONFIG, 5)([text])
        assert any_tokenizer.truncation_side == side
        assert tokens["input_ids"] == any_tokenizer([text], truncation=True, max_length=5)["input_ids"]


def test_special_tokens_stand_around_head_and_tail_of_any_tokenizer(any_tokenizer):
    text = "fire in a storm of cake " * 9
    (ids,) = TextTokenizer(any_tokenizer, CONFIG, 16, Reading("head_tail"))([text])[0]["input_ids"]
    whole = any_tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    room = 16 - len(any_tokenizer("")["input_ids"])
    assert inside(any_tokenizer, ids) == whole[:4] + whole[-(room - 4) :]
    assert len(ids) == 16


@pytest.mark.parametrize("mode", LONG_TEXTS)
def test_a_text_that_fits_is_what_it_was(mode, any_tokenizer):
    short = ["fire in a storm", "", "cake"]
    expected, _ = TextTokenizer(any_tokenizer, CONFIG, 32)(short)
    found, truncated = TextTokenizer(any_tokenizer, CONFIG, 32, Reading(mode))(short)
    assert truncated == [False] * 3
    if mode == "windows":
        expected = {name: [[row] for row in values] for name, values in expected.items()}
    assert found == expected


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.tuples(st.sampled_from(PARTS), st.sampled_from([0, 90, 300, 900])), max_size=3))
@pytest.mark.parametrize("mode", ["head_tail", "windows"])
def test_no_text_is_cut_where_that_would_change_what_is_read(mode, tokenizer, texts):
    text = "".join(part * n for part, n in texts)
    reading = Reading(mode, **({"stride": 2, "max_windows": 3} if mode == "windows" else {}))
    own = BertTokenizerFast(vocab=tokenizer.get_vocab(), model_max_length=64)
    expected = TextTokenizer(own, CONFIG, 8, reading)([text])
    with pytest.MonkeyPatch.context() as patch:
        # Texts of some hundred characters are cut already.
        patch.setattr(shortening, "CHARACTERS_PER_TOKEN", (2, 8, CHARACTERS_PER_TOKEN[-1]))
        assert TextTokenizer(own, CONFIG, 8, reading)([text]) == expected


@pytest.mark.parametrize("mode", ["head_tail", "windows"])
@pytest.mark.parametrize("cell", ["fire in a storm ", "火", "x", " "])
def test_a_cell_of_many_megabytes_is_cut_before_it_is_tokenized(mode, cell, any_tokenizer, monkeypatch):
    to_tokens = TextTokenizer(any_tokenizer, CONFIG, 16, Reading(mode))
    text = f"flood {cell * (20_000_000 // len(cell))} cake"
    seen = sizes_of(any_tokenizer, monkeypatch)
    tokens, truncated = to_tokens([text, "fire"])
    assert max(seen) <= CHARACTERS_PER_TOKEN[-1] * (16 + MARGIN) + len("fire")
    assert truncated == [True, False]
    if mode == "windows":
        assert len(tokens["input_ids"][0]) <= 32
    else:
        read = any_tokenizer.decode(tokens["input_ids"][0])
        # BERTweet's vocabulary has pieces of these.
        assert read.find("fl") < read.rfind("ke")


def test_windows_beyond_the_most_are_truncated(tokenizer):
    for words, most, count, cut in ((10, 2, 2, False), (11, 2, 2, True), (11, 3, 3, False), (1, 1, 1, False)):
        own = BertTokenizerFast(vocab=tokenizer.get_vocab(), model_max_length=64)
        to_tokens = TextTokenizer(own, CONFIG, 8, Reading("windows", 2, most))
        tokens, truncated = to_tokens(["fire " * words])
        assert (len(tokens["input_ids"][0]), truncated) == (count, [cut])


@pytest.mark.parametrize(
    ("reading", "length", "sentence"),
    [
        (
            Reading("windows", 6),
            8,
            "--stride 6 is all of the 6 tokens of a text that a window of --max_length 8 holds",
        ),
        (Reading("head_tail"), 2, "--max_length 2 leaves no room for a text between 2 special tokens"),
        (Reading("windows"), 2, "--max_length 2 leaves no room"),
    ],
)
def test_what_leaves_no_room_is_refused(reading, length, sentence, tokenizer):
    own = BertTokenizerFast(vocab=tokenizer.get_vocab(), model_max_length=64)
    with pytest.raises(UserError, match=sentence):
        TextTokenizer(own, CONFIG, length, reading)


@pytest.mark.parametrize("mode", LONG_TEXTS)
def test_pairs_are_cut_at_one_end_alone(mode, tokenizer):
    own = BertTokenizerFast(vocab=tokenizer.get_vocab(), model_max_length=64)
    to_tokens = TextTokenizer(own, CONFIG, 8, Reading(mode))
    if mode in ("head", "tail"):
        side = "left" if mode == "tail" else "right"
        other = BertTokenizerFast(vocab=tokenizer.get_vocab(), truncation_side=side)
        expected = other(["fire " * 9], ["cake in a storm"], truncation=True, max_length=8)["input_ids"]
        assert to_tokens(["fire " * 9], ["cake in a storm"])[0]["input_ids"] == expected
    else:
        with pytest.raises(UserError, match=f"--long_texts {mode} is of single texts, and these rows are pairs"):
            to_tokens(["fire"], ["cake"])


def test_rows_in_windows_are_counted_and_told(tokenizer, tiny_bert, folder, capsys):
    (folder / "train.csv").write_text("text,label\n" + "\n".join(f"fire {'flood ' * i},{i % 2}" for i in range(20)))
    data = read(folder)
    own = BertTokenizerFast(vocab=tokenizer.get_vocab(), model_max_length=64)
    splits = tokenize(data.splits, own, 8, str(tiny_bert), reading=Reading("windows", 2, 3))
    for row in splits["train"]:
        words = len(row["text"].split())
        windows = max(1, -(-(words - 2) // 4))
        assert row["num_windows"] == len(row["input_ids"]) == min(windows, 3)
        assert row["truncated"] == (windows > 3)
        assert row["length"] == sum(map(len, row["input_ids"]))
    show_data(data, splits)
    shown = " ".join(capsys.readouterr().out.split())
    assert "windows" in shown
    counts = splits["train"]["num_windows"][:]
    assert f"{sum(counts) / len(counts):.1f}, 3" in shown
