"""Prediction from an export: the graph's own numbers for every row, and no torch."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from support.exports import TOKENS, MeanOfTokens, expected, rewrite, write_export
from support.paths import RECIPES
from support.rows import sentence, write_csv
from support.scripts import run_script
from transformers import BertConfig, BertTokenizerFast

import bert_recipes as br
from bert_recipes.config.reading import Reading
from bert_recipes.data.tokenization import TextTokenizer
from bert_recipes.errors import UserError
from bert_recipes.evaluation.decoding import probabilities_of
from bert_recipes.inference.exported import ExportedPredictor
from bert_recipes.inference.rows import TextRow
from bert_recipes.inference.rows_predictor import write_predictions

TEXTS = [sentence(i) for i in range(50)] + ["", "fire " * 100]
KNOWN = {"keyword": {"categories": ["ablaze", "flood"]}, "price": {"mean": 2.5}}


@pytest.fixture
def own(tokenizer):
    """A tokenizer of this test's own, since a call leaves its truncation in it."""
    return BertTokenizerFast(vocab=tokenizer.get_vocab(), model_max_length=64)


def predicted(folder, rows, **options):
    found = [part for _, part in ExportedPredictor.load(folder, **options).probabilities(rows)]
    return np.concatenate(found)


def rows_of(texts, pairs=None, cells=None):
    return [
        TextRow(str(i), text, pairs[i] if pairs else None, cells[i] if cells else None) for i, text in enumerate(texts)
    ]


def predict(*flags):
    run_script(RECIPES / "predict.py", *flags, "--debug")


def test_each_row_gets_what_the_graph_gives_it_alone(own, tmp_path, monkeypatch):
    monkeypatch.setattr("bert_recipes.inference.batches.CHUNK_ROWS", 20)
    classifier = MeanOfTokens(num_labels=3)
    folder = write_export(tmp_path / "export", own, classifier)
    predictor = ExportedPredictor.load(folder)
    got = list(predictor.probabilities(iter(rows_of(TEXTS))))
    assert [row.id for chunk, _ in got for row in chunk] == [str(i) for i in range(len(TEXTS))]
    np.testing.assert_allclose(np.concatenate([p for _, p in got]), expected(classifier, own, TEXTS), atol=1e-6)
    assert predictor.label_names == ["no", "yes", "maybe"]
    assert repr(predictor) == f"<float32 export for onnx in {folder}>"


def test_pairs_have_their_token_types(own, tmp_path):
    classifier = MeanOfTokens(inputs=TOKENS)
    folder = write_export(tmp_path / "export", own, classifier, trained_on={"text_pair_column": "hypothesis"})
    texts, pairs = ["fire in a storm", "cake", "fire " * 60], ["", "storm " * 3, "cake " * 60]
    np.testing.assert_allclose(
        predicted(folder, rows_of(texts, pairs)), expected(classifier, own, texts, pairs), atol=1e-6
    )
    with pytest.raises(UserError, match="the model was trained on a pair of texts each"):
        ExportedPredictor.load(folder).predict(["fire"])


@pytest.mark.parametrize("long_texts", ["tail", "head_tail", "windows"])
def test_long_texts_are_read_as_in_training(long_texts, own, tmp_path):
    classifier, reading = MeanOfTokens(), Reading(long_texts)
    folder = write_export(tmp_path / "export", own, classifier, max_length=12, reading=reading.saved(12))
    tokens, _ = TextTokenizer(own, BertConfig(vocab_size=400), 12, reading)(TEXTS)
    windows = tokens["input_ids"] if long_texts == "windows" else [[ids] for ids in tokens["input_ids"]]
    logits = [np.mean([classifier.logits({"input_ids": ids}) for ids in row], axis=0) for row in windows]
    assert long_texts != "windows" or max(map(len, windows)) > 3
    found = predicted(folder, rows_of(TEXTS))
    np.testing.assert_allclose(found, probabilities_of(np.array(logits), "single_label_classification"), atol=1e-6)


def test_a_shorter_length_is_taken_and_a_longer_one_refused(own, tmp_path):
    classifier = MeanOfTokens()
    folder = write_export(tmp_path / "export", own, classifier)
    text = "fire storm cake flood heat " * 10
    short = classifier.logits(own(text, truncation=True, max_length=8))
    found = predicted(folder, rows_of([text]), max_length=8)
    np.testing.assert_allclose(found, probabilities_of(short[None], "single_label_classification"), atol=1e-6)
    with pytest.raises(UserError, match=r"--max_length 33 is more than the 32 that .*export was exported with"):
        ExportedPredictor.load(folder, max_length=33)


@pytest.mark.parametrize(
    ("problem", "header"),
    [("multi_label_classification", ["id", "prediction", "no", "yes"]), ("regression", ["id", "prediction"])],
)
def test_other_tasks_are_written_as_a_run_writes_them(problem, header, own, tmp_path):
    classifier = MeanOfTokens(num_labels=len(header) - 2 or 1)
    folder = write_export(tmp_path / "export", own, classifier, problem_type=problem)
    out = io.StringIO(newline="")
    assert list(write_predictions(out, ExportedPredictor.load(folder), rows_of(TEXTS[:5]))) == [5]
    first, *rows = csv.reader(io.StringIO(out.getvalue()))
    assert first == header
    probabilities = expected(classifier, own, TEXTS[:5], problem=problem)
    if problem == "regression":
        np.testing.assert_allclose([float(row[1]) for row in rows], probabilities[:, 0], atol=1e-5)
    else:
        above = ["|".join(n for n, p in zip(header[2:], row, strict=True) if p > 0.5) for row in probabilities]
        assert [row[1] for row in rows] == above


def test_several_graphs_predict_the_weighted_mean_of_their_probabilities(own, tmp_path):
    one, two = MeanOfTokens(seed=1), MeanOfTokens(seed=2)
    folder = write_export(tmp_path / "export", own, one, two, weights=[0.25, 0.75])
    mean = 0.25 * expected(one, own, TEXTS) + 0.75 * expected(two, own, TEXTS)
    np.testing.assert_allclose(predicted(folder, rows_of(TEXTS)), mean, atol=1e-6)


def test_columns_beside_the_text(own, tmp_path):
    one = MeanOfTokens(seed=1, columns=KNOWN)
    two = MeanOfTokens(seed=2, columns={"keyword": {"categories": ["flood", "storm"]}, "price": {"mean": 0.0}})
    folder = write_export(tmp_path / "export", own, one, two, trained_on={"decimal": ","})
    texts, keywords = TEXTS[:4], ["ablaze", "flood", "", "cake"]
    given = [{"keyword": k, "price": p, "other": 1} for k, p in zip(keywords, ["1,5", "", "x", "-2"], strict=True)]
    read = [{"keyword": k or None, "price": p} for k, p in zip(keywords, [1.5, None, None, -2.0], strict=True)]
    predictor = ExportedPredictor.load(folder)
    found = np.concatenate([part for _, part in predictor.probabilities(rows_of(texts, cells=given))])
    mean = (expected(one, own, texts, cells=read) + expected(two, own, texts, cells=read)) / 2
    np.testing.assert_allclose(found, mean, atol=1e-6)
    # Of the second graph 'ablaze' is no category.
    assert predictor.notes == [
        "Column 'keyword': 3 rows have none, or one that the training rows did not have.",
        "Column 'price': 2 rows have none, or one that the training rows did not have.",
    ]
    frame = pd.DataFrame({"text": texts, **{name: [row[name] for row in given] for name in ("keyword", "price")}})
    np.testing.assert_allclose(predictor.predict(frame)[["no", "yes"]], mean, atol=1e-6)
    with pytest.raises(UserError, match="was trained with the column 'keyword' beside the text"):
        predictor.predict(texts)


def to_openvino(folder):
    """Make an export for onnxruntime one for OpenVINO."""
    openvino = pytest.importorskip("openvino")
    graph = openvino.convert_model(folder / "model-0.onnx")
    openvino.save_model(graph, folder / "model-0.xml", compress_to_fp16=False)
    values = json.loads((folder / "export.json").read_text())
    del values["files"]
    values["graphs"][0]["file"] = "model-0.xml"
    rewrite(folder, values | {"engine": "openvino"})


def test_openvino_predicts_the_same(own, tmp_path):
    classifier = MeanOfTokens(num_labels=3, inputs=TOKENS, columns=KNOWN)
    folder = write_export(tmp_path / "export", own, classifier)
    cells = [{"keyword": "flood", "price": float(i)} for i in range(len(TEXTS))]
    rows = rows_of(TEXTS, cells=cells)
    to_openvino(folder)
    before = expected(classifier, own, TEXTS, cells=cells)
    np.testing.assert_allclose(predicted(folder, rows), before, atol=1e-6)
    np.testing.assert_allclose(predicted(folder, rows, bf16=True), before, atol=0.05)


def test_what_is_computed_in_is_what_this_cpu_takes(own, tmp_path, monkeypatch):
    openvino = pytest.importorskip("openvino")
    folder = write_export(tmp_path / "export", own, MeanOfTokens())
    assert ExportedPredictor.load(folder).computing == ["float32 graphs in float32 by onnx, up to 32 tokens"]
    openvino.save_model(openvino.convert_model(folder / "model-0.onnx"), folder / "model-0.xml")
    values = json.loads((folder / "export.json").read_text())
    del values["files"]
    values["graphs"][0]["file"] = "model-0.xml"
    rewrite(folder, values | {"engine": "openvino"})

    def computing(**options):
        return ExportedPredictor.load(folder, **options).computing[0].split(" by ")[0]

    # On a machine that has bfloat16, and on one that does not, the same command gives other numbers.
    for native, name in ((openvino.Type.bf16, "bfloat16"), (openvino.Type.f32, "float32")):
        monkeypatch.setattr(openvino.Core, "get_property", lambda self, *what, native=native: native)
        assert computing() == f"float32 graphs in {name}"
        assert computing(bf16=True) == "float32 graphs in bfloat16"
        assert computing(bf16=False) == "float32 graphs in float32"


# Through the script and the package


@pytest.fixture
def export(own, tmp_path):
    trained_on = {"text_column": "body", "id_column": "key", "text_pair_column": None}
    return write_export(tmp_path / "export", own, MeanOfTokens(num_labels=3), trained_on=trained_on)


def test_the_script_reads_the_columns_that_the_run_was_trained_on(export, own, tmp_path):
    write_csv(
        tmp_path / "new.csv", [["key", "body", "text"], *([f"r{i}", text, "no"] for i, text in enumerate(TEXTS))]
    )
    predict("--model", export, "--input", tmp_path / "new.csv", "--output", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [f"r{i}" for i in range(len(TEXTS))]
    found = [[float(row[label]) for label in ("no", "yes", "maybe")] for row in rows]
    np.testing.assert_allclose(found, expected(MeanOfTokens(num_labels=3), own, TEXTS), atol=1e-6)


def test_from_python_an_export_predicts_as_a_run_does(export, own):
    frame = br.load(export).predict(pd.Series(["fire", "cake"], index=[7, 3]))
    assert list(frame) == ["prediction", "no", "yes", "maybe"]
    assert list(frame.index) == [7, 3]
    np.testing.assert_allclose(
        frame.iloc[:, 1:], expected(MeanOfTokens(num_labels=3), own, ["fire", "cake"]), atol=1e-6
    )
    assert len(br.load(str(export)).predict([])) == 0
    with pytest.raises(UserError, match=r"row 1, counted from 0, is 'a\\ud800b', which holds half of a pair"):
        br.load(export).predict(["a", "a\ud800b"])


# What is imported where these are not installed is an error, as it would be there.
BLOCKED = """
import importlib.abc, runpy, sys
class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named '{{name}}'", name=name)
sys.meta_path.insert(0, Blocker())
sys.argv = {argv}
runpy.run_path(sys.argv[0], run_name="__main__")
print(sorted({{name.partition(".")[0] for name in sys.modules}} & {watched}), file=sys.stderr)
"""
OF_TRAINING = {
    *("accelerate", "datasets", "evaluate", "huggingface_hub", "jinja2", "matplotlib", "safetensors", "scipy"),
    *("sklearn", "statsmodels", "torch", "transformers"),
}


def without_training(*flags, stdin=""):
    argv = [str(RECIPES / "predict.py"), *map(str, flags)]
    code = BLOCKED.format(blocked=OF_TRAINING, argv=argv, watched={"pandas", "pyarrow", "onnxruntime"})
    return subprocess.run([sys.executable, "-c", code], input=stdin, capture_output=True, text=True)


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_the_engine_keeps_no_id_of_the_machine_and_sends_nothing(engine, export, tmp_path):
    if engine == "openvino":
        to_openvino(export)
    home = tmp_path / "home"
    home.mkdir()
    # In what they take for a test or a continuous integration, they send nothing anyway.
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "HOME": str(home)}
    argv = [sys.executable, str(RECIPES / "predict.py"), "--model", str(export)]
    done = subprocess.run(argv, input="fire\n", capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_nothing_of_training_is_imported_and_for_lines_of_text_no_reader_of_tables(export, tmp_path):
    done = without_training("--model", export, stdin="fire in a storm\ncake\n")
    assert done.returncode == 0, done.stderr
    assert [line.split(",")[0] for line in done.stdout.splitlines()] == ["id", "0", "1"]
    assert done.stderr == "['onnxruntime']\n"
    for kind, write in {"csv": pd.DataFrame.to_csv, "parquet": pd.DataFrame.to_parquet}.items():
        write(pd.DataFrame({"key": ["r0", "r1"], "body": ["fire in a storm", "cake"]}), tmp_path / f"new.{kind}")
        again = without_training("--model", export, "--input", tmp_path / f"new.{kind}")
        assert again.returncode == 0, again.stderr
        cells = [line.split(",")[1:] for line in again.stdout.splitlines()]
        assert cells == [line.split(",")[1:] for line in done.stdout.splitlines()]


def test_what_is_no_export_says_what_to_install(export, tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("none")
    any_other = "is no export{}, and any other model"
    for model, said in (
        (tmp_path, any_other.format("")),
        (export.parent, any_other.format(f", as {export} is")),
        (tmp_path / "mistyped", "is no folder here, and a model of the Hub"),
    ):
        done = without_training("--model", model, stdin="fire\n")
        assert done.returncode == 2
        assert done.stdout == ""
        assert f"error: --model {model} {said} needs " in done.stderr
        assert ", which is not installed: pip install 'bert-recipes[train]'.\n" in done.stderr


# What is refused


def changed(folder, **values):
    path = folder / "export.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def in_graph(folder, **changes):
    graphs = json.loads((folder / "export.json").read_text())["graphs"]
    changed(folder, graphs=[graphs[0] | changes])


def outside(folder, name):
    (folder / "model-0.onnx").rename(folder / name)
    files = json.loads((folder / "export.json").read_text())["files"]
    in_graph(folder, file=name)
    changed(folder, files={**files, name: files.pop("model-0.onnx")})


def written(name, content):
    return lambda folder: (folder / name).write_bytes(content)


BAD = {
    "another format": (
        lambda folder: changed(folder, format=2, bert_recipes="0.9"),
        "is an export of format 2, by version 0.9 of bert-recipes, and this version reads format 1: export the run",
    ),
    "no format": (
        lambda folder: changed(folder, format="x"),
        r"export.json is damaged \(it does not say its format\)",
    ),
    "no JSON": (written("export.json", b"{"), r"export.json is damaged \(.*: copy the export again"),
    "bytes": (written("export.json", b"\xff\xfe"), "export.json is damaged"),
    "a list": (written("export.json", b"[1]"), "export.json is damaged"),
    "nested": (written("export.json", b"[" * 100_000), "export.json is damaged"),
    "no labels": (lambda folder: changed(folder, labels=[]), r"export.json is damaged \(its labels are no texts\)"),
    "labels that are no texts": (lambda folder: changed(folder, labels=[1, 2]), "its labels are no texts"),
    "a length that is none": (lambda folder: changed(folder, max_length=True), "its 'max_length' is True"),
    "no task": (lambda folder: changed(folder, problem_type="guessing"), "no task 'guessing'"),
    "no engine": (lambda folder: changed(folder, engine="steam"), "there is no engine 'steam'"),
    "no weight": (lambda folder: in_graph(folder, weight="x"), "export.json is damaged"),
    "weights": (lambda folder: in_graph(folder, weight=0.5), "its weights are not one in all"),
    "a weight below nothing": (lambda folder: in_graph(folder, weight=-1), "its weights are not one in all"),
    "a column of no kind": (lambda folder: in_graph(folder, columns={"x": {}}), "of the column 'x' it says {}"),
    "a column that is none": (lambda folder: in_graph(folder, columns={"x": 1}), "export.json is damaged"),
    "no ids": (lambda folder: changed(folder, inputs=["attention_mask"]), "its inputs are"),
    "unknown inputs": (lambda folder: changed(folder, inputs=["input_ids", "position_ids"]), "its inputs are"),
    "another way of reading": (lambda folder: changed(folder, reading={"long_texts": "middle"}), "long_texts middle"),
    "no graph": (lambda folder: changed(folder, graphs=[]), "export.json is damaged"),
    "a graph without a digest": (lambda folder: in_graph(folder, file="other.onnx"), "has no digest of other.onnx"),
    "a file of another folder": (
        lambda folder: outside(folder, "../model.onnx"),
        r"export.json is damaged \(a file of it is called '\.\./model.onnx'\)",
    ),
    "a digest of no file": (lambda folder: changed(folder, files={"a\0b": ""}), "a file of it is called 'a"),
    "more labels": (
        lambda folder: changed(folder, labels=["a", "b"]),
        "model-0.onnx returns 3 logits, and export.json has 2 labels: export the run again",
    ),
    "another input": (
        lambda folder: changed(folder, inputs=["input_ids"]),
        "takes attention_mask, input_ids, and export.json says input_ids",
    ),
    "a graph that is missing": (
        lambda folder: (folder / "model-0.onnx").unlink(),
        "is no complete export: model-0.onnx is missing; copy it again",
    ),
    "a graph that is damaged": (
        written("model-0.onnx", b"x"),
        r"model-0.onnx is damaged \(its SHA-256 is not the one",
    ),
    "a tokenizer that is damaged": (written("tokenizer.json", b"{}"), r"tokenizer.json is damaged \(its SHA-256"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_export_is_one_sentence(name, export):
    spoil, message = BAD[name]
    spoil(export)
    with pytest.raises(UserError, match=message) as caught:
        ExportedPredictor.load(export)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("file", "library"), [("model-0.onnx", "onnxruntime"), ("tokenizer.json", "tokenizers")])
def test_a_file_that_this_version_of_a_library_cannot_read(file, library, export):
    (export / file).write_bytes(b"{}")
    values = json.loads((export / "export.json").read_text())
    del values["files"]
    rewrite(export, values)
    with pytest.raises(UserError, match=rf"{file} cannot be read by {library} \d.*: export the run again, or install"):
        ExportedPredictor.load(export)


def test_no_rows_are_a_header(export, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    predict("--model", export)
    assert capsys.readouterr().out.splitlines() == ["id,prediction,no,yes,maybe"]


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_an_engine_that_is_not_installed_is_named(engine, export, monkeypatch):
    package = {"onnx": "onnxruntime", "openvino": "openvino"}[engine]
    monkeypatch.setitem(sys.modules, package, None)
    changed(export, engine=engine)
    with pytest.raises(UserError, match=f"an export for {engine}, and the package {package} is not installed: pip"):
        ExportedPredictor.load(export)


def test_onnxruntime_has_no_bfloat16_to_offer(export):
    assert ExportedPredictor.load(export, bf16=False).label_names
    with pytest.raises(UserError, match="--bf16 true cannot be honoured"):
        predict("--model", export, "--bf16", "true")
