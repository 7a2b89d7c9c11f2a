"""The load on the service: what is measured, and what is counted as an error."""

import json
import shutil
import subprocess
import sys

import pytest
from support.paths import ROOT
from transformers import AutoModelForSequenceClassification, AutoTokenizer


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="needs wrk: apt install wrk")
def test_both_services_are_loaded_and_their_errors_counted(tiny_bert, tmp_path):
    AutoModelForSequenceClassification.from_pretrained(tiny_bert).save_pretrained(tmp_path / "run" / "model")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / "run" / "model")
    (tmp_path / "run" / "run.yaml").write_text("text_column: text\nmax_length: 32\n")
    command = [
        sys.executable,
        "-m",
        "benchmarks.serving",
        "--model",
        tmp_path / "run",
        "--output",
        tmp_path / "out.json",
    ]
    command += ["--clients", "1", "4", "--seconds", "1", "--rounds", "1"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = json.loads((tmp_path / "out.json").read_text())["lines"]
    assert [(line["service"], line["clients"]) for line in lines] == [
        ("batching", 1),
        ("one by one", 1),
        ("batching", 4),
        ("one by one", 4),
    ]
    assert all(line["requests"] > 0 and line["errors"] == 0 for line in lines)
    assert all(0 < line["p50_ms"] <= line["p99_ms"] for line in lines)
    assert done.stdout.count("| batching |") == 2
