"""The fuzz harness itself: cases are the same every time, and each way to fail is seen."""

import contextlib
import sys
from pathlib import Path
from random import Random

import cases
import mutations
import pytest
from fuzz import FAILED, FINE, REFUSED, Failure, Tally, Watch, outcome

from bert_recipes.errors import UserError

EVERY_DAMAGE = (
    *mutations.ANY_FILE,
    *mutations.TEXT_FILE,
    *mutations.DELIMITED,
    *mutations.JSON_LINES,
    *mutations.YAML,
)


@pytest.fixture(scope="module")
def watch(tmp_path_factory):
    return Watch(tmp_path_factory.getbasetemp())


def fail(error):
    raise error


@pytest.mark.parametrize("damage", EVERY_DAMAGE, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("data", [b"", b"id,text\n1,a b\n2,c\n", b'{"id": 1, "text": "a"}\n{"id": 2}\n', b"seed: 3\n"])
def test_damage_takes_any_bytes_and_is_the_same_for_the_same_draw(damage, data):
    for seed in range(5):
        assert damage(Random(seed), data) == damage(Random(seed), data)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_undamaged_data_loads(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(mutations, "several", lambda draw, damages, data: (data, []))
    monkeypatch.setattr(mutations, "TABLES", (lambda draw, table: table,))
    monkeypatch.setattr(mutations.TABLES[0], "__name__", "nothing")
    monkeypatch.setattr(cases, "_more_flags", lambda draw: [])
    make = cases.loading({"csv": cases.delimited, "jsonl": cases.json_lines, "parquet": cases.parquet}[kind])
    for seed in range(8):
        folder = tmp_path / str(seed)
        folder.mkdir()
        make(Random(seed), folder).start()


def test_an_end_is_told(watch, tmp_path):
    assert outcome(lambda: None, watch, 5)[0]["end"] == FINE
    assert outcome(lambda: fail(UserError("no")), watch, 5)[0]["end"] == REFUSED
    for error in (ValueError("x"), SystemExit(2), RecursionError()):
        report, caught = outcome(lambda error=error: fail(error), watch, 5)
        assert (report["end"], report["what"], caught) == (FAILED, type(error).__name__, error)


def test_what_does_not_end_fails(watch):
    def forever():
        while True:
            pass

    assert outcome(forever, watch, 1)[0]["what"] == "TooLongError"


def test_a_write_outside_fails(watch, tmp_path_factory):
    inside = tmp_path_factory.mktemp("inside") / "a"
    assert outcome(lambda: inside.write_text(""), watch, 5)[0]["end"] == FINE
    outside = Path(sys.prefix) / "no such folder" / "a"
    report, _ = outcome(lambda: open_quietly(outside), watch, 5)
    assert report["what"] == "written outside"


def open_quietly(path):
    with contextlib.suppress(FileNotFoundError):
        path.open("w").close()


def test_failures_of_one_kind_are_counted_together():
    tally = Tally("csv")
    report = {"end": FAILED, "what": "ValueError", "where": "a.py:1 f", "said": "ValueError: 1", "damage": "truncate"}
    tally.add({**report, "case": 3})
    tally.add({**report, "case": 8, "said": "ValueError: 2"})
    tally.add({"end": FINE, "case": 9})
    assert list(tally.failures.values()) == [Failure("ValueError: 1", "a.py:1 f", {3: "truncate", 8: "truncate"})]
    assert tally.ends == {FAILED: 2, FINE: 1}
