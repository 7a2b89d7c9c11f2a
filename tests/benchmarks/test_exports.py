"""The exports of a run are measured beside torch and `pipeline`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.paths import ROOT

from benchmarks import exports
from benchmarks.exports import PIPELINE, table


def test_a_line_is_told_as_a_multiple_of_the_pipeline():
    lines = {PIPELINE: {"rate": 50.0}, "ONNX": {"rate": 125.0, "flips": 2, "rows": 400, "score": 0.81234}}
    *_, first, second = table(lines).splitlines()
    assert first.startswith(f"| {PIPELINE} | 50.0 | 1.00 |  |")
    assert second.startswith("| ONNX | 125.0 | 2.50 | 2 of 400 | 0.8123 |")


def test_an_export_of_another_run_or_of_the_one_before_is_not_measured(tmp_path, monkeypatch):
    made = []

    def export(command):
        folder = Path(command[command.index("--output_dir") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "export.json").touch()
        made.append(Path(command[command.index("--model") + 1]).parent.name)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", export)
    runs = [tmp_path / name / "run" for name in ("first", "second")]
    for run in runs:
        run.mkdir(parents=True)
        (run / "metrics.json").touch()
    folders = [exports.export_of(str(run), ["--format", "onnx"], tmp_path / "out") for run in (*runs, *runs)]
    assert made == ["first", "second"]
    assert folders[:2] == folders[2:]
    os.utime(runs[1] / "metrics.json", (2**31, 2**31))  # trained again
    exports.export_of(str(runs[1]), ["--format", "onnx"], tmp_path / "out")
    assert made == ["first", "second", "second"]


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
