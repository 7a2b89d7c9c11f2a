"""Rewritten texts, by a tokenizer that goes on doing so wherever it is loaded."""

import json

import pytest
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

from bert_recipes.config.arguments import NORMALIZED
from bert_recipes.config.reading import Reading
from bert_recipes.data.normalization import IN_WORDS, RULES, normalizing, rewriting, rewritten_kinds
from bert_recipes.data.tokenization import TextTokenizer
from bert_recipes.errors import UserError
from bert_recipes.modeling.loading import load_tokenizer

TWEET = "RT @BBC_News: FIRE &amp; storm! http://t.co/lHYXEOHY6C (www.example.org/a?b=c) me@home.org &lt;3 &amp;lt;"


def test_the_kinds_are_those_of_the_flag():
    assert tuple(RULES) == tuple(IN_WORDS) == NORMALIZED


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        ([], TWEET),
        (["urls"], "RT @BBC_News: FIRE &amp; storm! http (http me@home.org &lt;3 &amp;lt;"),
        (["mentions"], TWEET.replace("@BBC_News", "@user")),
        (["entities"], TWEET.replace("&lt;3", "<3").replace("&amp;", "&")),
        (["mentions", "entities", "urls"], "RT @user: FIRE & storm! http (http me@home.org <3 &lt;"),
    ],
)
def test_rules(kinds, expected):
    assert rewriting(kinds)(TWEET) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("속보…https://t.co/a1 @연합뉴스 제공", "속보…http @user 제공"),
        ("지진@yonhap에서 HTTPS://T.CO/X_http://y", "지진@user http"),
        ("quantit_http://t.co/x", "quantit_http"),
        ("awww. no@where www", "awww. no@where www"),
    ],
)
def test_whatever_stands_beside(text, expected):
    assert rewriting(NORMALIZED)(text) == expected


def test_rewritten_once_it_stays():
    rewrite = rewriting(["urls", "mentions"])
    assert rewrite(rewrite(TWEET)) == rewrite(TWEET)


def same(tokenizer, other, text, rewritten):
    return tokenizer(text, "storm")["input_ids"] == other(rewritten, "storm")["input_ids"]


def test_a_tokenizer_rewrites_and_goes_on_when_it_is_saved(tiny_bert, tmp_path):
    plain, ours = AutoTokenizer.from_pretrained(tiny_bert), load_tokenizer(str(tiny_bert), normalize=NORMALIZED)
    assert not same(plain, plain, TWEET, rewriting(NORMALIZED)(TWEET))
    ours.save_pretrained(tmp_path)
    # A model's own class is chosen by its configuration too, and would make its normalizer anew.
    (tmp_path / "config.json").write_text((tiny_bert / "config.json").read_text())
    for tokenizer in (ours, AutoTokenizer.from_pretrained(tmp_path), load_tokenizer(str(tmp_path))):
        assert same(tokenizer, plain, TWEET, rewriting(NORMALIZED)(TWEET))
        assert rewritten_kinds(tokenizer) == [*NORMALIZED]
        assert tokenizer("a", "b").keys() == plain("a", "b").keys()
        assert tokenizer("a", "b")["token_type_ids"] == plain("a", "b")["token_type_ids"]
        for name in ("model_max_length", "special_tokens_map", "padding_side", "truncation_side"):
            assert getattr(tokenizer, name) == getattr(plain, name)
    bare = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert bare.encode(TWEET).ids == plain(rewriting(NORMALIZED)(TWEET))["input_ids"]


def test_of_a_tokenizer_that_rewrites_already_no_step_is_made_twice(tiny_bert):
    once = load_tokenizer(str(tiny_bert), normalize=["urls"])
    assert normalizing(once, ["urls"]) is once
    assert normalizing(once, []) is once
    more = normalizing(once, ["entities"])
    assert rewritten_kinds(more) == ["entities", "urls"]
    both = load_tokenizer(str(tiny_bert), normalize=["urls", "entities"])
    assert more.backend_tokenizer.to_str() == both.backend_tokenizer.to_str()


def test_without_a_normalizer_of_its_own_it_gets_one(tiny_bert):
    state = json.loads(AutoTokenizer.from_pretrained(tiny_bert).backend_tokenizer.to_str())
    state["normalizer"] = None
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(state)), unk_token="[UNK]")
    assert rewritten_kinds(tokenizer) == []
    rewritten = normalizing(tokenizer, ["urls"])
    assert rewritten("fire http://t.co/x")["input_ids"] == tokenizer("fire http")["input_ids"]


def test_a_tokenizer_written_in_python_is_refused(tmp_path):
    from transformers import CanineTokenizer

    CanineTokenizer().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"--normalize is done by a tokenizer.json, and --model .* \(CanineTokenizer"):
        normalizing(CanineTokenizer.from_pretrained(tmp_path), ["urls"])


@pytest.mark.parametrize("long_texts", ["tail", "head_tail"])
def test_a_long_url_that_a_long_text_is_cut_through_stays_one_word(long_texts, tiny_bert):
    """Texts are cut by their characters before they are tokenized, and half a URL is hundreds of tokens."""
    config = AutoConfig.from_pretrained(tiny_bert)
    tokenizer = load_tokenizer(str(tiny_bert), normalize=["urls"])
    to_tokens = TextTokenizer(tokenizer, config, 64, Reading(long_texts))
    plain = TextTokenizer(AutoTokenizer.from_pretrained(tiny_bert), config, 64, Reading(long_texts))
    url = "https://example.org/" + "a/b-c?d=" * 600
    for behind in (0, 15, 40, 200):
        texts = ["storm fire " * 500 + word + " cake" * behind for word in (url, "http")]
        assert to_tokens(texts[:1])[0] == plain(texts[1:])[0]
