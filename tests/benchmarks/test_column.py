"""The text alone and the text with a column are run with the same seeds, and the table compares them."""

import runpy

import pytest
from support.paths import ROOT
from support.rows import sentence, write_csv


@pytest.mark.slow
def test_the_two_differ_in_the_column_alone(tiny_bert, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    script = runpy.run_path(str(ROOT / "benchmarks/column.py"))
    rows = [[i, f"{sentence(i)} {i}", ["storm", ""][i % 2], i % 2] for i in range(40)]
    write_csv(tmp_path / "rows.csv", [["id", "text", "keyword", "target"], *rows])
    flags = ["--dataset", str(tmp_path / "rows.csv"), "--model", str(tiny_bert), "--max_steps", "1", "--bf16", "false"]
    runs = {
        name: [script["metrics_of"](name, 1, tmp_path, [*flags, "--max_length", "32"], script["CHOICES"])] * 2
        for name in script["CHOICES"]
    }
    assert [*runs["keyword"][0]["environment"]["data"]] == [
        *runs["text"][0]["environment"]["data"],
        *("train (keyword)", "validation (keyword)"),
    ]
    header, _, text, keyword = script["table"](runs).splitlines()
    assert "against text, points" in header
    assert "a_linear_layer.py:LinearOnCls" in text
    assert "d_extra_column.py:WithKeyword" in keyword
