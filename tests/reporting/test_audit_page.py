"""The page of an audit: what it holds, and in a browser what a person can do on it."""

import csv
import json
import re

import pytest
from support.browser import browsing

from bert_recipes.reporting.audit_page import neighbours, write_audit


def item(name, label="no", suggested="yes", text="a text", **more):
    models = {"baseline": [["yes", 0.9], ["no", 0.1]]}
    near = [{"text": "a neighbour", "label": "yes"}]
    given = {"id": name, "split": "train", "issue": "label", "label": label, "suggested": suggested, "score": 0.9}
    return given | {"text": text, "neighbours": near, "models": models} | more


def about(**more):
    names = ["no", "yes", 'so, "so"']
    known = {"source": "data", "labels": names, "names": names, "several": False, "values": False}
    return known | {"stop_at": 2, "likely_wrong": 2, "more": 0} | more


def embedded(folder):
    page = (folder / "audit.html").read_text(encoding="utf-8")
    return page, json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_texts_end_no_script_and_the_page_asks_no_one(tmp_path):
    text = "</script><script>alert(1)</script> <b>&amp; \u2028"
    write_audit(tmp_path, [item("a", text=text)], about())
    page, data = embedded(tmp_path)
    assert data["items"][0]["text"] == text
    assert page.count("<script") == 3
    assert not re.search(r"""(?:src|href)\s*=\s*["']?https?:|@import|url\(http""", page)


def test_what_is_decided_is_kept_apart_for_each_audit(tmp_path):
    keys = set()
    for items in ([item("a")], [item("b")], [item("a")]):
        write_audit(tmp_path, items, about())
        keys.add(embedded(tmp_path)[1]["key"])
    assert len(keys) == 2


def test_neighbours_are_those_of_like_words_and_never_the_row_itself():
    texts = ["fire in the mill", "cake with cream", "fire in the old mill", "cream cake", "nothing else", "?!"]
    found = neighbours(texts, list("abcdef"), [0, 1, 4, 5])
    assert [[near["label"] for near in of_row] for of_row in found] == [["c"], ["d"], [], []]
    assert neighbours(["!", "?"], ["a", "b"], [0]) == [[]]


@pytest.fixture
def page():
    with browsing() as browser:
        page = browser.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
    assert not errors


def corrections(page):
    with page.expect_download() as download:
        page.keyboard.press("e")
    with open(download.value.path(), encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


@pytest.mark.slow
def test_decisions_are_made_by_keys_undone_kept_and_saved(page, tmp_path):
    write_audit(tmp_path, [item(name) for name in "abcde"], about())
    page.goto(f"file://{tmp_path}/audit.html")
    press(page, "a", "k", "s", "3", "a")
    assert page.inner_text("#counts") == "3 changed, 1 kept, 1 skipped"
    press(page, "u")
    page.reload()
    assert page.inner_text("#counts") == "2 changed, 1 kept, 1 skipped"
    assert page.inner_text("#where") == "Row 5 of 5"
    assert corrections(page) == [
        ["id", "split", "label"],
        ["a", "train", "yes"],
        ["d", "train", 'so, "so"'],
    ]
    press(page, "ArrowLeft", "k")
    assert corrections(page)[1:] == [["a", "train", "yes"]]


@pytest.mark.slow
def test_each_label_of_a_row_is_decided_of_by_itself(page, tmp_path):
    items = [item("a", "no", "no|yes"), item("a", "no", ""), item("b", "yes", "no|yes")]
    write_audit(tmp_path, items, about(labels=[], several=True))
    page.goto(f"file://{tmp_path}/audit.html")
    press(page, "a", "a", "k")
    assert corrections(page)[1:] == [["a", "train", "yes"]]


@pytest.mark.slow
def test_of_a_row_that_stands_there_twice_the_last_decision_counts(page, tmp_path):
    twice = [item("a"), item("a", issue="duplicate-clash"), item("b", suggested=None)]
    write_audit(tmp_path, twice, about())
    page.goto(f"file://{tmp_path}/audit.html")
    press(page, "a", "a", "a")
    # Nothing is suggested for the third one.
    assert page.inner_text("#counts") == "2 changed, 0 kept, 0 skipped"
    assert corrections(page)[1:] == [["a", "train", "yes"]]
    press(page, "ArrowLeft", "k")
    assert corrections(page)[1:] == []
    press(page, "ArrowLeft", "ArrowLeft", "3")
    assert corrections(page)[1:] == [["a", "train", 'so, "so"']]
    write_audit(tmp_path, [item("a", "no", "yes"), item("a", "no", "yes")], about(labels=[], several=True))
    page.goto(f"file://{tmp_path}/audit.html")
    press(page, "a", "a")
    assert corrections(page)[1:] == [["a", "train", "yes"]]


@pytest.mark.slow
def test_without_a_suspicious_label_the_page_says_so(page, tmp_path):
    write_audit(tmp_path, [], about(stop_at=0, likely_wrong=0))
    page.goto(f"file://{tmp_path}/audit.html")
    press(page, "a", "u", "ArrowRight")
    assert page.inner_text("#where") == "No label looks wrong."
