"""Texts that are wrong in themselves."""

import pytest

from bert_recipes.data.suspects import has_broken_characters, script_of, suspect_texts

# Bytes that Windows-1252 gives no letter to are left as control characters by what reads them.
C1 = {0xDC00 + byte: byte for byte in range(0x80, 0xA0)}


def in_windows_1252(text):
    """What becomes of UTF-8 that is read as Windows-1252."""
    return text.encode().decode("cp1252", "surrogateescape").translate(C1)


ORDINARY = [f"an ordinary text of some words, number {i}" for i in range(60)]


def found(text, others=ORDINARY):
    return suspect_texts([*others, text])[-1]


@pytest.mark.parametrize("text", ["", " ", "?!", "… 🔥"])
def test_a_text_without_a_word_is_empty(text):
    assert "empty" in found(text)


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("caf\u00c3\u00a9 in town", True),  # café, read as Latin-1
        ("it\u00e2\u20ac\u2122s broken", True),  # an apostrophe, read as Windows-1252
        ("\u00ed\u0095\u009c\u00ea\u00b8\u0080", True),  # 한글, read as Latin-1
        *(
            ("a " + text.encode().decode("cp1252", "surrogateescape").translate(C1), True)
            for text in ("안녕", "좋아요", "naïve")
        ),
        ("«\u00a0déjà\u00a0» cet été\u00a0! À\u00a0Paris, «été\u00a0»", False),
        ("lost \ufffd here", True),
        ("fish &amp; chips &#39;here&#39;", True),
        ("a\x00b", True),
        ("café, naïve, 100 €, Ångström, El Niño", False),
        ("한글과 漢字, кириллица", False),
        ("fish & chips; R&D; AT&T;", False),
        ("line\nline\ttab\r\n", False),
    ],
)
def test_characters_that_a_wrong_reading_leaves_are_told_from_foreign_ones(text, broken):
    assert has_broken_characters(text) is broken


def test_lengths_and_scripts_are_seen_beside_the_others():
    assert found("word " * 2000) == ["length"]
    assert found("совсем другой язык в этой строке") == ["language"]
    assert found("an ordinary text of some words and emoji 🔥🔥") == []
    # Where no script is that of nearly all, none is apart.
    mixed = [*ORDINARY[:30], *["обычный текст из нескольких слов"] * 30]
    assert found("совсем другой язык в этой строке", mixed) == []


def test_each_text_gets_its_own_answer():
    assert suspect_texts([]) == []
    assert [("empty" in issues) for issues in suspect_texts(["", "a word", " "])] == [True, False, True]


def test_the_script_is_that_of_most_letters():
    assert script_of("hello мир") == "LATIN"
    assert script_of("안녕하세요 ok") == "HANGUL"
    assert script_of("123 !") == ""
