"""The exports of a run are measured beside torch and `pipeline`."""

import json
import subprocess
import sys

import pytest
from support.paths import ROOT

from benchmarks.exports import PIPELINE, table


def test_a_line_is_told_as_a_multiple_of_the_pipeline():
    lines = {PIPELINE: {"rate": 50.0}, "ONNX": {"rate": 125.0, "flips": 2, "rows": 400, "score": 0.81234}}
    *_, first, second = table(lines).splitlines()
    assert first.startswith(f"| {PIPELINE} | 50.0 | 1.00 |  |")
    assert second.startswith("| ONNX | 125.0 | 2.50 | 2 of 400 | 0.8123 |")


@pytest.mark.slow
def test_every_line_is_measured(tiny_bert, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text("text,label\n" + "".join(f"{word} storm {i},{i % 2}\n" for i, word in enumerate(["fire"] * 60)))
    flags = [
        "--dataset",
        rows,
        "--model",
        tiny_bert,
        "--max_steps",
        "1",
        "--max_length",
        "32",
        "--output_dir",
        tmp_path / "run",
    ]
    subprocess.run([sys.executable, ROOT / "recipes/stock.py", *flags], check=True, capture_output=True)
    command = [sys.executable, "-m", "benchmarks.exports", "--model", tmp_path / "run", "--rows", "8", "--rounds", "1"]
    subprocess.run([*command, "--output_dir", tmp_path / "out"], check=True, cwd=ROOT, capture_output=True)
    lines = json.loads((tmp_path / "out/exports.json").read_text())["lines"]
    assert {PIPELINE, "this project, float32", "ONNX", "ONNX, int8", "OpenVINO", "OpenVINO, int8"} <= {*lines}
    assert all(line["rate"] > 0 for line in lines.values())
    assert lines["ONNX"]["flips"] == 0
    assert lines["ONNX, int8"]["peak_mib"] < lines["this project, float32"]["peak_mib"]
