"""The document's table is the one that the script makes."""

import re
import runpy

import pytest
from support.paths import ROOT

from benchmarks.cut_steps import measure, save_encoder
from bert_recipes.reporting.documents import between_marks

DOCUMENT = ROOT / "docs/exactness.md"


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "benchmarks/exactness.py"))


def written():
    return between_marks(DOCUMENT, "exactness").splitlines()


def test_the_table_has_every_cut_and_says_what_the_rule_says(script):
    header, _, *lines = written()
    rows = [dict(enumerate(line.strip("| ").split(" | "))) for line in lines]
    assert header.strip("| ").split(" | ") == list(script["HEADER"])
    assert [(int(row[1]), int(row[0])) for row in rows] == [
        (p, a) for p in script["PROCESSES"] for a in script["ACCUMULATIONS"]
    ]
    uncut = rows[0]
    for row in rows:
        times = int(row[0]) * int(row[1])
        assert (row[3], row[5]) == (uncut[3], uncut[5])
        assert float(row[2]) == pytest.approx(times * float(uncut[2]), rel=1e-3)
        assert float(row[4]) == pytest.approx(times * float(uncut[4]), rel=1e-3)
        assert {row[7], row[8]} <= {"0", "< 1e-12"}


def test_measured_again_on_one_process_the_lines_are_the_documents(script, tmp_path):
    save_encoder(tmp_path)
    kinds = ("Trainer", "stock", "custom")
    results = [measure(str(tmp_path), kind, a, 1) for a in (1, 4) for kind in kinds]
    for line in script["table"](results).splitlines():
        assert line in written()


def test_the_document_links_only_to_what_is_there():
    for target in re.findall(r"\]\((?!https)([^)]+)\)", DOCUMENT.read_text(encoding="utf-8")):
        assert (DOCUMENT.parent / target).is_file()
