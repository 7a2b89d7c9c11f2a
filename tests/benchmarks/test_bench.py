"""The tables of the bench, and that every line of them runs."""

import json
import runpy
import subprocess
import sys

import numpy as np
import pytest
from support.paths import ROOT
from support.started import run
from transformers import AutoModelForSequenceClassification

from benchmarks.graphs import GRAPHS, GraphPredictor
from benchmarks.speed import TABLES
from benchmarks.unpadded import UnpaddedPredictor
from bert_recipes.errors import UserError
from bert_recipes.inference.predictor import Predictor
from bert_recipes.inference.rows import TextRow

BENCH = ROOT / "benchmarks/bench.py"
FIGURES = {"rows_per_second", "tokens_per_second", "padding", "flops", "share"}


def line(rows, **more):
    return dict.fromkeys(FIGURES, 0.5) | {"rows_per_second": rows, "seconds_to_first_step": 1.0} | more


def results(**more):
    return {
        "machine": "a machine",
        "device": "cpu",
        "versions": {"torch": "1.2"},
        "command": "python -m benchmarks.bench",
        "model": "m",
        "texts": "t",
        "matrix_rate": 4e11,
        "training": {"slow": line(10.0, peak_memory=2**30), "fast": line(85.0)},
        "prediction": {"slow": line(70.0), "fast": line(350.0)},
        "length": {16: {"training": line(100.0), "prediction": line(1000.0)}},
        "processes": {
            1: {"rows_per_second": 50.0, "rows_of_a_step": 32},
            2: {"rows_per_second": 75.0, "rows_of_a_step": 32},
        },
        "profile": {"training": {"aten::addmm": 0.5}, "prediction": {"aten::mm": 0.25}},
        **more,
    }


def test_a_table_has_the_ratio_to_its_first_line_and_the_unit_of_each_column():
    table = runpy.run_path(str(BENCH))["as_markdown"](results())
    assert "| slow | 10.0 | 1.00 | 0 | 50.0% | 0 | 50% | 1,024 MiB | 1.0 |" in table
    assert "| fast | 85.0 | 8.50 |" in table
    assert "| fast | 350.0 | 5.00 |" in table
    assert "| 16 | 10.00 | 625.0 | 1.00 | 62.5 |" in table
    assert "| 2 | 32 | 75.0 | 1.50 |" in table
    assert "| `aten::addmm` | 50.0% | `aten::mm` | 25.0% |" in table
    assert "a machine; torch 1.2; matrix product 400 GFLOP/s" in table


def test_the_table_of_a_device_replaces_its_own_in_the_docs(tmp_path):
    bench = runpy.run_path(str(BENCH))
    docs = tmp_path / "performance.md"
    docs.write_text("a\n<!-- make bench on cpu: begin -->\nold\n<!-- make bench on cpu: end -->\nb\n")
    bench["write_docs"].__globals__["DOCUMENT"] = docs
    bench["plot_lengths"].__globals__["plot_lengths"] = lambda results, path: None
    bench["write_docs"](results(model="new"))
    bench["write_docs"](results(model="newer"))
    plot = "![time of a text against its length](length_cpu.svg)"
    newer = bench["as_markdown"](results(model="newer"))
    between = f"<!-- make bench on cpu: begin -->\n{newer}\n{plot}\n<!-- make bench on cpu: end -->"
    assert docs.read_text() == f"a\n{between}\nb\n"
    whole = docs.read_text()
    with pytest.raises(UserError, match=r"bench\.json has no length: run make bench without --only first"):
        bench["write_docs"]({name: value for name, value in results().items() if name != "length"})
    assert docs.read_text() == whole


def test_the_table_of_the_service_has_a_page_of_its_own(tmp_path):
    bench = runpy.run_path(str(BENCH))
    speed, service = tmp_path / "performance.md", tmp_path / "serving.md"
    speed.write_text("<!-- make bench on cpu: begin -->\nold\n<!-- make bench on cpu: end -->\n")
    service.write_text("<!-- make bench serve on cpu: begin -->\nold\n<!-- make bench serve on cpu: end -->\n")
    bench["write_docs"].__globals__.update(DOCUMENT=speed, OF_SERVICE=service, plot_lengths=lambda results, path: None)
    figures = {"requests_per_second": 1234.4, "p50_ms": 12.6, "p99_ms": 99.9, "requests": 9, "errors": 1}
    lines = [{"service": "LitServe 1.2", "clients": 8} | figures]
    row = "| LitServe 1.2 | 8 | 1,234 | 13 | 100 | 1 |"
    alone = {name: value for name, value in results().items() if not isinstance(value, dict)}
    bench["write_docs"](alone | {"versions": {"torch": "1.2"}, "service": lines})
    assert row in service.read_text()
    assert "torch 1.2" in service.read_text()
    assert speed.read_text().splitlines()[1] == "old"
    bench["write_docs"](results(service=lines))
    assert "| fast | 85.0 |" in speed.read_text()
    assert row not in speed.read_text()
    assert "| fast | 85.0 |" not in service.read_text()


def test_of_a_gpu_the_docs_take_what_was_measured(tmp_path):
    bench = runpy.run_path(str(BENCH))
    docs = tmp_path / "performance.md"
    before, after = "<!-- make bench on gpu: begin -->", "<!-- make bench on gpu: end -->"
    docs.write_text(f"{before}\n{after}\n")
    bench["write_docs"].__globals__.update(DOCUMENT=docs, as_markdown=lambda results: "tables")
    measured = {"device": "cuda", "grid": {}, "prediction_grid": {}}
    bench["write_docs"](measured)
    assert docs.read_text() == f"{before}\ntables\n{after}\n"
    with pytest.raises(UserError, match=r"bench\.json has no grid"):
        bench["write_docs"]({"device": "cuda", "prediction_grid": {}})


def test_a_model_of_another_size_has_tables_beside_the_others(tmp_path):
    bench = runpy.run_path(str(BENCH))
    docs = tmp_path / "performance.md"
    marks = "<!-- make {} on cpu: begin -->\n{}\n<!-- make {} on cpu: end -->\n"
    usual = marks.format("bench", "old", "bench")
    docs.write_text(usual + marks.format("bench of embedded:mpnet", "", "bench of embedded:mpnet"))
    bench["write_docs"].__globals__.update(DOCUMENT=docs, as_markdown=lambda results: "tables")
    measured = {"device": "cpu", "model": "embedded:mpnet", "training": {}}
    bench["write_docs"](measured)
    assert docs.read_text() == usual + marks.format("bench of embedded:mpnet", "tables", "bench of embedded:mpnet")
    with pytest.raises(UserError, match=r"bench\.json has no training"):
        bench["write_docs"]({"device": "cpu", "model": "embedded:mpnet", "prediction": {}})


def test_without_a_bench_there_is_nothing_to_put_into_the_docs(tmp_path):
    command = [sys.executable, "-m", "benchmarks.bench", "--write_docs", "--output_dir", tmp_path]
    done = run(command, folder=ROOT)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --write_docs: there is no")


def test_unpadded_execution_is_exact(tiny_bert, tokenizer):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    # So that texts differ in their logits.
    model.requires_grad_(False).base_model.encoder.apply(
        lambda m: m.weight.mul_(20) if hasattr(m, "in_features") else m
    )
    rows = [TextRow("", text) for text in ("fire in a storm", "cake", "a storm", "cake")]
    ((_, padded),) = Predictor(model, tokenizer, 32).logits(rows)
    ((_, unpadded),) = UnpaddedPredictor(model, tokenizer, 32).logits(rows)
    assert abs(padded - padded[0]).max() > 1e-3
    np.testing.assert_allclose(unpadded, padded, atol=1e-5)


def parsed(monkeypatch, *flags):
    bench = runpy.run_path(str(BENCH))
    monkeypatch.setitem(bench["parse_arguments"].__globals__, "has_wrk", lambda: False)
    monkeypatch.setattr(sys, "argv", ["bench", *flags])
    return bench["parse_arguments"]()


def test_without_wrk_the_other_tables_are_measured(monkeypatch, capsys):
    assert set(parsed(monkeypatch).only) == {asked for asked, _, _ in TABLES} - {"serve"}
    assert capsys.readouterr().err == "The table 'serve' is left out: wrk is not installed (apt install wrk).\n"
    assert parsed(monkeypatch, "--only", "train").only == ["train"]
    assert capsys.readouterr().err == ""
    with pytest.raises(UserError, match="wrk, which is not installed: apt install wrk"):
        parsed(monkeypatch, "--only", "train", "serve")


@pytest.mark.parametrize("python", [sys.executable, "no/such/python"])
def test_a_python_without_litserve_is_told_before_anything_is_measured(python, monkeypatch):
    with pytest.raises(UserError, match=rf"--litserve_python {python} is no Python that has litserve"):
        parsed(monkeypatch, "--only", "train", "--litserve_python", python)


@pytest.mark.parametrize(
    "name", [name if name == "OpenVINO" else pytest.param(name, marks=pytest.mark.slow) for name in GRAPHS]
)
def test_the_graph_of_a_line_predicts_what_the_model_does(name, tiny_bert, tokenizer):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert).eval()
    # So that texts differ in their logits.
    model.requires_grad_(False).base_model.encoder.apply(
        lambda m: m.weight.mul_(20) if hasattr(m, "in_features") else m
    )
    rows = [TextRow("", text) for text in ("fire in a storm", "cake", "a storm", "a lovely cake of smoke")]
    by_graph = GraphPredictor(name, model, tokenizer, 32)
    ((_, expected),) = Predictor(model, tokenizer, 32).logits(rows)
    ((_, found),) = by_graph.logits(rows)
    assert abs(expected - expected[0]).max() > 1e-3
    np.testing.assert_allclose(found, expected, atol=0.2 * abs(expected).max() if "int8" in name else 1e-4)


@pytest.mark.slow
def test_every_line_runs(tiny_bert, tmp_path):
    command = [
        "-m",
        "benchmarks.bench",
        "--model",
        tiny_bert,
        "--rows",
        1024,
        "--rounds",
        1,
        "--steps",
        1,
        "--output_dir",
        tmp_path,
    ]
    done = subprocess.run(
        [sys.executable, *map(str, command), "--only", "train", "predict", "processes"], capture_output=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-3000:]
    written = json.loads((tmp_path / "bench.json").read_text())
    for table in ("training", "prediction"):
        for name, figures in written[table].items():
            assert figures.keys() >= FIGURES, name
            assert figures["rows_per_second"] > 0
            assert 0 <= figures["padding"] < 1
    stock, same, ours = list(written["training"].values())[:3]
    assert stock["padding"] > 0.4 > 0.1 > ours["padding"]
    assert {"peak_memory", "seconds_to_first_step"} <= same.keys()
    assert all(figures["rows_per_second"] > 0 for figures in written["processes"].values())
    assert (tmp_path / "bench.md").read_text().startswith("`")
