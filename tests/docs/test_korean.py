"""The Korean pages have the headings, commands and figures of the English ones."""

import re
from collections import Counter

import pytest
from support.paths import ROOT

PAGES = ["README", *(str(page.relative_to(ROOT)).removesuffix(".ko.md") for page in sorted(ROOT.glob("docs/*.ko.md")))]
NUMBER = re.compile(r"\d[\d.,]*\d|\d")


def levels(text):
    return [len(marks) for marks in re.findall(r"^(#+) ", text, flags=re.MULTILINE)]


def commands(text):
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    # What stands behind a # or beside a file's name in a listing is prose.
    return [re.sub(r"(  +|  # ).*", "", line) for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("page", PAGES)
def test_both_say_the_same(page):
    english, korean = ((ROOT / f"{page}{suffix}.md").read_text(encoding="utf-8") for suffix in ("", ".ko"))
    assert levels(english) == levels(korean)
    assert commands(english) == commands(korean)
    assert Counter(NUMBER.findall(english)) == Counter(NUMBER.findall(korean))
    assert re.search("[가-힣]", korean)
    assert ".ko.md)" in english.split("\n")[2] or page.endswith("anatomy")
