"""A finished run becomes a folder that predicts what the run does, or nothing at all."""

import csv
import fcntl
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from support.paths import OWN_CLASSIFIERS, RECIPES
from support.rows import sentence, write_csv
from support.scripts import recipe, run_script
from support.trained_tokenizers import like_bertweet
from transformers import RobertaConfig, RobertaModel

from bert_recipes.errors import UserError
from bert_recipes.inference.exported import ExportedPredictor
from bert_recipes.runs.export import Exporter
from bert_recipes.runs.folder import RunFolder


def export(folder, *flags):
    run_script(RECIPES / "export.py", "--model", folder, *flags, "--debug")
    return folder / "export"


def read(path):
    return json.loads(path.read_text())


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def predicted(model, source, *flags):
    out = source.with_name("out.csv")
    run_script(RECIPES / "predict.py", "--model", model, "--input", source, "--output", out, *flags, "--debug")
    with out.open(newline="") as file:
        _, *rows = csv.reader(file)
    return [row[:2] for row in rows], np.array([row[2:] for row in rows], dtype=float)


def check(run, source, exported, *flags):
    """Check that an export predicts new rows as its run does, and that parity.json says so."""
    (texts, probabilities), (others, found) = (
        predicted(run, source, "--bf16", "false", *flags),
        predicted(exported, source),
    )
    if probabilities.size:
        assert others == texts
    np.testing.assert_allclose(found, probabilities, atol=1e-5)
    parity = read(exported / "parity.json")
    assert parity["largest_difference"] < 1e-5
    assert parity["after"] == pytest.approx(parity["before"], abs=1e-4)
    return parity


@pytest.fixture(scope="module")
def exported(finished_run, tmp_path_factory):
    """A run in a folder of its own, with an export."""
    run = tmp_path_factory.mktemp("exported") / "run"
    shutil.copytree(finished_run("stock"), run)
    export(run)
    return run


def test_an_export_predicts_what_its_run_does(exported, competition):
    folder = exported / "export"
    graph = ["model.onnx", "model.onnx.data"]
    assert names(folder) == ["README.md", "export.json", *graph, "parity.json", "tokenizer.json"]
    assert not list(exported.glob(".export*"))
    parity = check(exported, competition / "test.csv", folder)
    metrics = read(exported / "metrics.json")["validation"]
    assert parity["before"] == pytest.approx({name: metrics[name] for name in parity["before"]}, abs=1e-4)
    assert (parity["rows"], parity["flips"], parity["rows_of"]) == (10, 0, "validation")
    contract = read(folder / "export.json")
    assert [*contract["files"]] == ["tokenizer.json", *graph]
    assert {name: contract[name] for name in ("engine", "precision", "labels", "max_length", "pairs")} == {
        **{"engine": "onnx", "precision": "float32", "labels": ["0", "1"], "max_length": 32, "pairs": False},
    }
    assert (contract["threshold"], contract["temperature"]) == (metrics["threshold"], metrics["temperature"])
    assert contract["trained_on"]["text_column"] == ["text"]
    assert "truncation" not in {key for key, value in read(folder / "tokenizer.json").items() if value}
    card = (folder / "README.md").read_text()
    assert "over 10 rows of validation" in card
    assert str(exported.parent) not in card


@pytest.fixture
def traced_before(exported, monkeypatch):
    """Let the graph that is there be the one that is written anew, which saves the time of tracing."""
    kept = sorted((exported / "export").glob("model.*"))
    monkeypatch.setattr(
        Exporter, "_write_graph", lambda self, part, predictor, path: [shutil.copy(file, path.parent) for file in kept]
    )


def test_what_is_there_is_replaced_only_where_that_is_asked_for(exported, traced_before):
    with pytest.raises(UserError, match=r"run/export holds an export: name another --output_dir, or replace it with"):
        export(exported)
    (exported / "export" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"export also holds notes.txt, which no export writes"):
        export(exported, "--overwrite")
    (exported / "export" / "notes.txt").unlink()
    before = (exported / "export" / "export.json").stat().st_ino
    export(exported, "--overwrite")
    assert (exported / "export" / "export.json").stat().st_ino != before
    assert not list(exported.glob(".*"))


def test_a_graph_that_predicts_otherwise_leaves_what_was_there(exported, traced_before, monkeypatch):
    monkeypatch.setattr("bert_recipes.runs.parity.MOST_APART", 0.0)
    before = (exported / "export" / "export.json").stat().st_ino
    with pytest.raises(UserError, match="does not predict what the model does: over 10 rows they differ by up to"):
        export(exported, "--overwrite")
    assert (exported / "export" / "export.json").stat().st_ino == before
    assert not list(exported.glob(".*"))


def test_a_graph_is_compared_on_the_cpu_where_there_is_a_gpu(exported, traced_before, monkeypatch):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda: torch.device("meta"))
    assert read(export(exported, "--overwrite") / "parity.json")["largest_difference"] < 1e-5


def test_what_a_killed_process_left_is_put_in_order(exported, traced_before):
    before = (exported / "export" / "export.json").stat().st_ino
    (exported / "export").rename(exported / ".export.replaced")
    (exported / ".export").mkdir()
    (exported / ".export" / "model.onnx").touch()
    with pytest.raises(UserError, match="holds an export"):
        export(exported)
    assert (exported / "export" / "export.json").stat().st_ino == before
    shutil.copytree(exported / "export", exported / ".export.replaced")
    export(exported, "--overwrite")
    assert (exported / "export" / "export.json").stat().st_ino != before
    assert not [*(exported / ".export").glob("*"), *exported.glob(".export.*")]


def test_a_run_that_is_replaced_takes_its_export_along(exported):
    assert RunFolder(exported).owned.strangers() == []
    (exported / ".export").mkdir(exist_ok=True)
    (exported / ".export" / "float32-model.onnx").touch()  # of a process that was killed
    assert RunFolder(exported).owned.strangers() == []
    shutil.rmtree(exported / ".export")


def test_a_run_in_use_is_not_exported(exported):
    with (exported / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="is in use by another process"):
            export(exported, "--overwrite")
    (exported / ".lock").unlink()


@pytest.mark.parametrize(
    ("values", "sentence_"),
    [
        (None, "is no run, which has a run.yaml: give the folder of a finished run"),
        ({"recipe": "baseline"}, "is a run of the baseline, which saves no model"),
        ({"recipe": "blend"}, "is a blend, which is not exported as one: export the runs that it is of"),
        ({"recipe": "stock"}, "is a run that is not finished: finish it by .*stock.*run.yaml"),
    ],
)
def test_what_cannot_be_exported_is_said(values, sentence_, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    if values:
        (folder / "run.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(UserError, match=sentence_):
        export(folder)
    assert names(folder) == (["run.yaml"] if values else [])


def test_a_fold_alone_is_not_exported(tmp_path):
    fold = tmp_path / "run" / "folds" / "1"
    fold.mkdir(parents=True)
    for folder in (tmp_path / "run", fold):
        (folder / "run.yaml").write_text("recipe: stock\nfolds: 2\n")
    with pytest.raises(UserError, match=r"is one fold of a run: export all of it, .*run\.$"):
        export(fold)


def test_another_folder_must_be_free(finished_run, tmp_path, monkeypatch):
    run = finished_run("stock")
    (tmp_path / "file").write_text("")
    (tmp_path / "volume").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "volume")
    for folder, sentence_ in (
        ("volume", "volume is where a file system begins: name a folder in it"),
        ("file", "is no folder of its own: name one"),
        (".", "is not empty and holds no export"),
    ):
        with pytest.raises(UserError, match=sentence_):
            export(run, "--output_dir", tmp_path / folder)
    assert names(tmp_path) == ["file", "volume"]


@pytest.mark.slow
def test_a_tokenizer_in_python_is_refused(competition, tmp_path):
    tokenizer = like_bertweet(tmp_path)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    config = RobertaConfig(vocab_size=len(tokenizer), pad_token_id=1, max_position_embeddings=64, **sizes)
    RobertaModel(config).save_pretrained(tmp_path / "tweets")
    tokenizer.save_pretrained(tmp_path / "tweets")
    recipe("stock", tmp_path / "run", competition, tmp_path / "tweets", "--max_steps", "1")
    with pytest.raises(UserError, match=r"has a tokenizer that is written in Python .*which an export cannot hold"):
        export(tmp_path / "run")
    assert not list((tmp_path / "run").glob("*export*"))


# What follows trains a model each.

ROWS = {
    "single": lambda i: [i, f"{sentence(i)} {i}", i % 3 == 0],
    "pairs": lambda i: [i, f"{sentence(i)} {i}", sentence(i + 1), i % 2],
    "several": lambda i: [i, f"{sentence(i)} {i}", ["hot", "wet", "hot|wet", ""][i % 4]],
    "regression": lambda i: [i, f"{sentence(i)} {i}", 1000 * (i % 7) / 2],
    "long": lambda i: [i, " ".join(sentence(i + j) for j in range(i % 12)) + f" {i}", i % 2],
}
HEADERS = {"pairs": ["id", "sentence1", "sentence2", "label"], "several": ["id", "text", "labels"]}


@pytest.fixture
def data(request, tmp_path):
    """A folder with rows of a kind, to train on and to predict."""
    folder = tmp_path / "data"
    folder.mkdir()
    header = HEADERS.get(request.param, ["id", "text", "score" if request.param == "regression" else "label"])
    rows = [ROWS[request.param](i) for i in range(110)]
    write_csv(folder / "train.csv", [header, *rows[:80]])
    write_csv(folder / "test.csv", [header[:-1], *(row[:-1] for row in rows[80:])])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["onnx", "openvino"])
@pytest.mark.parametrize(
    ("data", "name", "flags"),
    [
        ("single", "custom", ["--pooling", "attention", "--folds", "2"]),
        ("single", "stock", ["--folds", "2", "--refit"]),
        ("pairs", "custom", ["--pooling", "mean"]),
        ("several", "stock", []),
        ("regression", "custom", ["--head_layers", "1"]),
        ("long", "stock", ["--long_texts", "windows", "--stride", "2"]),
        ("single", "stock", ["--normalize", "urls", "mentions"]),
        ("long", "custom", ["--long_texts", "tail"]),
        ("long", "custom", ["--long_texts", "head_tail"]),
        ("single", "custom", ["--lora_rank", "2"]),
    ],
    indirect=["data"],
)
def test_every_task_and_every_way_of_training(data, name, flags, format_, tiny_bert, tmp_path):
    recipe(name, tmp_path / "run", data, tiny_bert, *flags, "--max_length", "24")
    folder = export(tmp_path / "run", "--format", format_)
    parity = check(tmp_path / "run", data / "test.csv", folder)
    graphs = read(folder / "export.json")["graphs"]
    folds = "--folds" in flags and "--refit" not in flags
    assert [graph["weight"] for graph in graphs] == ([0.5, 0.5] if folds else [1.0])
    assert parity["rows"] == (80 if "--folds" in flags else 8)


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["onnx", "openvino"])
def test_a_classifier_of_ones_own_with_columns_in_folds(format_, tiny_bert, tmp_path):
    header = ["id", "text", "keyword", "price", "target"]
    rows = [[i, f"{sentence(i // 2)} {i}", ["storm", "", f"rare {i}"][i % 3], i % 7 * 1.5, i % 2] for i in range(90)]
    write_csv(tmp_path / "train.csv", [header, *rows[:60]])
    write_csv(tmp_path / "new.csv", [header[:-1], *(row[:-1] for row in rows[60:])])
    spec = f"{OWN_CLASSIFIERS}:WithColumns"
    recipe("custom", tmp_path / "run", tmp_path / "train.csv", tiny_bert, "--classifier", spec, "--folds", "2")
    with pytest.raises(UserError, match="is code that it carries"):
        export(tmp_path / "run", "--format", format_)
    folder = export(tmp_path / "run", "--format", format_, "--trust_remote_code")
    check(tmp_path / "run", tmp_path / "new.csv", folder, "--trust_remote_code")
    first, second = read(folder / "export.json")["graphs"]
    assert first["columns"]["keyword"] != second["columns"]["keyword"]


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["onnx", "openvino"])
def test_int8_says_what_it_costs(format_, finished_run, tmp_path, capsys):
    folder = tmp_path / "small"
    export(finished_run("custom"), "--format", format_, "--int8", "--output_dir", folder)
    assert not [name for name in names(folder) if name.startswith("float32")]
    parity = read(folder / "parity.json")
    assert parity["largest_difference_in_float32"] < 1e-5 < parity["largest_difference"] < 0.1
    assert "1 rows" not in capsys.readouterr().out
    assert ExportedPredictor.load(folder).export.precision == "int8"


@pytest.mark.slow
def test_code_that_cannot_be_traced_leaves_nothing(tiny_bert, tmp_path, competition, capsys):
    source = OWN_CLASSIFIERS.read_text() + (
        "\n\nclass Asks(TextAlone):\n"
        "    def forward(self, input_ids, attention_mask):\n"
        "        longest = attention_mask.sum(1).max().item()\n"
        "        return super().forward(input_ids[:, :longest], attention_mask[:, :longest]) * (1 + longest % 2 * 0)\n"
    )
    (tmp_path / "asks.py").write_text(source)
    flags = ("--classifier", f"{tmp_path / 'asks.py'}:Asks", "--max_steps", "1")
    recipe("custom", tmp_path / "run", competition, tiny_bert, *flags)
    before = names(tmp_path / "run")
    with pytest.raises(UserError, match=r"the model cannot be exported: asks.py, line \d+"):
        export(tmp_path / "run", "--trust_remote_code")
    assert names(tmp_path / "run") == before
