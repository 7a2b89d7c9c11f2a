"""Rows in, scores out: the model's own numbers, in the order of the rows, from every kind of file."""

import csv
import io
import sys
import threading
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from support.classifiers import LABELS
from support.paths import OWN_CLASSIFIERS, RECIPES
from support.rows import sentence, write_csv
from support.scripts import run_script
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from bert_recipes.config.arguments import CustomArguments
from bert_recipes.errors import UserError
from bert_recipes.inference.batches import batches_of_tokens, chunks
from bert_recipes.inference.predictor import Predictor
from bert_recipes.inference.rows import TextRow, read_stream
from bert_recipes.modeling.building import build_classifier
from bert_recipes.task import Task

TEXTS = [sentence(i) for i in range(50)] + ["", "fire " * 100]


@pytest.fixture(scope="module", params=["stock", "custom"])
def model(request, tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    labels = {"id2label": {0: "no", 1: "yes", 2: "maybe"}, "label2id": {"no": 0, "yes": 1, "maybe": 2}}
    if request.param == "stock":
        saved = AutoModelForSequenceClassification.from_pretrained(tiny_bert, **labels)
    else:
        three = Task("multi-class", list(labels["label2id"]), ["label"])
        saved = build_classifier(str(tiny_bert), CustomArguments(pooling="mean"), three)
    saved.save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(folder / "model")
    (folder / "run.yaml").write_text("text_column: body\nid_column: key\nmax_length: 32\n")
    return folder


def expected_logits(folder, texts, max_length=32):
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    loaded = AutoModelForSequenceClassification.from_pretrained(folder / "model").eval()
    with torch.no_grad():
        return np.concatenate(
            [loaded(**tokenizer(t, truncation=True, max_length=max_length, return_tensors="pt")).logits for t in texts]
        )


def predict(*flags):
    run_script(RECIPES / "predict.py", *flags, "--debug")


@pytest.mark.parametrize("ahead", [False, True])
def test_each_row_gets_what_the_model_gives_it_alone(ahead, model, monkeypatch):
    monkeypatch.setattr("bert_recipes.inference.batches.CHUNK_ROWS", 20)
    monkeypatch.setattr("bert_recipes.inference.predictor.TOKENIZES_AHEAD", {"cpu": ahead})
    predictor = Predictor.load(str(model), bf16=False)
    assert predictor.max_length == 32
    rows = [TextRow(str(i), text) for i, text in enumerate(TEXTS)]
    got = list(predictor.logits(iter(rows)))
    assert [row for chunk, _ in got for row in chunk] == rows
    logits = np.concatenate([logits for _, logits in got])
    np.testing.assert_allclose(logits, expected_logits(model, TEXTS), atol=1e-5)


def test_batches_side_by_side_give_the_numbers_of_one_thread_on_any_number(model, monkeypatch):
    monkeypatch.setattr("bert_recipes.inference.predictor.TOKENS_PER_BATCH", {"cpu": 100})
    rows = [TextRow(str(i), text) for i, text in enumerate(TEXTS)]
    threads, found, computed_on = torch.get_num_threads(), [], set()
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            predictor = Predictor.load(str(model), bf16=False)
            predictor.compute_side_by_side()
            predictor.model.register_forward_pre_hook(
                lambda *_: computed_on.add((threading.current_thread().name, torch.get_num_threads()))
            )
            found.append(np.concatenate([logits for _, logits in predictor.logits(rows)]))
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(*found)
    assert {count for _, count in computed_on} == {1}
    assert len({name for name, _ in computed_on} - {"MainThread"}) > 1


def test_lengths_in_multiples_change_no_score(model):
    predictor = Predictor.load(str(model), bf16=False)
    rows = [TextRow("", text) for text in TEXTS]
    ((_, expected),) = predictor.logits(rows)
    predictor.batches.pad_to_multiple_of = 8
    seen = []
    predictor.model.register_forward_pre_hook(
        lambda module, args, inputs: seen.append(inputs["input_ids"].shape[1]), with_kwargs=True
    )
    ((_, found),) = predictor.logits(rows)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert set(seen) <= {8, 16, 24, 32}


def test_a_very_long_text_is_scored_by_what_is_read_of_it(model):
    texts = ["fire " * 5000, " " * 4000 + "fire in a storm", "x" * 4000 + " fire"]
    ((_, found),) = Predictor.load(str(model), bf16=False).logits([TextRow("", text) for text in texts])
    np.testing.assert_allclose(found, expected_logits(model, texts), atol=1e-5)


def test_in_bfloat16_the_scores_are_near_and_not_in_steps(model):
    logits = {}
    for half in (False, True):
        ((_, logits[half]),) = Predictor.load(str(model), bf16=half).logits([TextRow("", t) for t in TEXTS])
    np.testing.assert_allclose(logits[True], logits[False], atol=0.02)
    assert len(np.unique(logits[True][:50])) > 0.9 * len(np.unique(logits[False][:50]))


def write(kind, path, texts):
    frame = pd.DataFrame({"key": [f"r{i}" for i in range(len(texts))], "body": texts, "other": 1})
    if kind in ("csv", "tsv"):
        frame.to_csv(path, sep="\t" if kind == "tsv" else ",", index=False)
    elif kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif kind == "parquet":
        frame.to_parquet(path)
    else:
        path.write_text("".join(text + "\n" for text in texts))


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "txt"])
def test_every_kind_of_file_gives_the_same_predictions(kind, model, tmp_path, capsys):
    source, out = tmp_path / f"new.{kind}", tmp_path / "out.csv"
    write(kind, source, TEXTS)
    predict("--model", model, "--input", source, "--output", out, "--bf16", "false")
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == [f"{'' if kind == 'txt' else 'r'}{i}" for i in range(len(TEXTS))]
    probabilities = torch.tensor(expected_logits(model, TEXTS)).softmax(1).numpy()
    np.testing.assert_allclose([[float(r[n]) for n in ("no", "yes", "maybe")] for r in rows], probabilities, atol=1e-5)
    assert [row["prediction"] for row in rows] == [["no", "yes", "maybe"][i] for i in probabilities.argmax(1)]
    assert f"{len(TEXTS)} rows are in {out}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_standard_input_and_output(model, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("fire in a storm\ncäke\n".encode())))
    predict("--model", model / "model", "--bf16", "false")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["id"] for row in rows] == ["0", "1"]
    assert set(rows[0]) == {"id", "prediction", "no", "yes", "maybe"}


def test_rows_that_cannot_be_read_leave_standard_output_empty(model, tmp_path, capsys):
    (tmp_path / "columns.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="the text column has none of the usual names"):
        predict("--model", model, "--input", tmp_path / "columns.csv")
    assert capsys.readouterr().out == ""


def test_no_rows_are_a_header(model, tmp_path, capsys):
    (tmp_path / "none.txt").touch()
    predict("--model", model, "--input", tmp_path / "none.txt")
    assert capsys.readouterr().out.splitlines() == ["id,prediction,no,yes,maybe"]


@pytest.mark.parametrize(
    ("problem_type", "columns"),
    [("multi_label_classification", ["no", "yes"]), ("regression", []), ("regression", ["no", "yes"])],
)
def test_other_tasks(problem_type, columns, tiny_bert, tmp_path):
    names = columns or ["score"]
    options = {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert, problem_type=problem_type, **options)
    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / "model")
    write("txt", tmp_path / "new.txt", TEXTS[:5])
    predict(
        *("--model", tmp_path / "model", "--input", tmp_path / "new.txt", "--output", tmp_path / "out.csv"),
        *("--bf16", "false"),
    )
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    logits = torch.tensor(expected_logits(tmp_path, TEXTS[:5], 64))
    assert list(rows[0]) == ["id", "prediction", *columns]
    if problem_type == "regression":
        values = [[float(v) for v in row["prediction"].split("|")] for row in rows]
        np.testing.assert_allclose(values, logits.numpy(), atol=1e-5)
    else:
        above = [{n for n, x in zip(names, row, strict=True) if x > 0} for row in logits.tolist()]
        assert [set(filter(None, row["prediction"].split("|"))) for row in rows] == above


def test_pairs_are_read_together(model, tiny_bert, tmp_path):
    write_csv(tmp_path / "new.csv", [["premise", "hypothesis"], ["fire", "cake"], ["storm", ""]])
    rows = list(read_stream(str(tmp_path / "new.csv")))
    assert [row[:3] for row in rows] == [("0", "fire", "cake"), ("1", "storm", "")]
    assert [row.cells for row in rows] == [
        {"premise": premise, "hypothesis": hypothesis} for _, premise, hypothesis in (row[:3] for row in rows)
    ]
    ((_, logits),) = Predictor.load(str(model), bf16=False).logits(rows)
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    loaded = AutoModelForSequenceClassification.from_pretrained(model / "model").eval()
    with torch.no_grad():
        expected = loaded(**tokenizer("fire", "cake", return_tensors="pt")).logits[0]
    np.testing.assert_allclose(logits[0], expected, atol=1e-5)


BAD = {
    "no.csv": (None, "there is no such file"),
    "new.docx": ("x", "of a type that cannot be read"),
    "empty.csv": ("", "is empty"),
    "columns.csv": ("a,b\n1,2\n", "the text column has none of the usual names.*--text_column. The columns are a, b"),
    "ragged.csv": ("id,text\n1,a\n2,b,c\n", "line 3 has 3 cells, and the header has 2"),
    "twice.csv": ("text,text\n1,a\n", "more than one column named 'text'"),
    "latin.csv": (b"text\ncaf\xe9\n", "byte 8 cannot be decoded"),
    "broken.jsonl": ('{"text": "a"}\n{"text": \n', "line 2 is not valid JSON"),
    "list.jsonl": ('{"text": "a"}\n[1]\n', "line 2 is not a JSON object"),
    "number.jsonl": ('{"text": "a"}\n{"text": 7}\n', "row 1, counted from 0, has 7 in 'text'"),
    "damaged.parquet": ("x", "cannot be read as parquet"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_sentence_and_leaves_the_old_output(name, model, tmp_path):
    content, sentence_ = BAD[name]
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "out.csv").write_text("of yesterday")
    with pytest.raises(UserError, match=sentence_) as caught:
        predict("--model", model, "--input", tmp_path / name, "--output", tmp_path / "out.csv")
    assert "\n" not in str(caught.value)
    assert (tmp_path / "out.csv").read_text() == "of yesterday"
    assert {path.name for path in tmp_path.iterdir()} <= {name, "out.csv"}


def test_flags_that_do_not_fit(model, tmp_path):
    write("csv", tmp_path / "new.csv", TEXTS)
    (baseline := tmp_path / "baseline").mkdir()
    (baseline / "run.yaml").write_text("recipe: baseline\n")
    for flags, sentence_ in (
        (["--text_column", "nope"], "--text_column nope: .* has no such column; it has key, body, other"),
        (["--max_length", "65"], "--max_length 65 is more than the 64"),
        (["--model", tmp_path / "nope", "--text_column", "body"], "neither a model folder nor a Hub id"),
        (["--model", baseline, "--text_column", "body"], "is a run of the baseline, which saves no model"),
        (["--wrong"], "unrecognized arguments: --wrong"),
        (["--encoding", "klingon"], "no encoding 'klingon'"),
    ):
        with pytest.raises(UserError, match=sentence_):
            predict("--model", model, "--input", tmp_path / "new.csv", *flags)


@given(
    lengths=st.lists(st.integers(0, 50), min_size=1, max_size=200),
    tokens=st.integers(1, 300),
    overhead=st.integers(0, 100),
)
def test_batches_hold_every_row_once_and_no_more_tokens_than_asked(lengths, tokens, overhead):
    batches = batches_of_tokens(np.array(lengths), tokens, overhead)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= tokens


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=8),
    tokens=st.integers(1, 40),
    overhead=st.integers(0, 20),
)
def test_no_other_batches_would_take_less_time(lengths, tokens, overhead):
    def cost(batches):
        return sum(len(batch) * max(batch) + overhead for batch in batches)

    def cuts(ordered):
        for size in range(1, len(ordered) + 1):
            if size == 1 or size * ordered[0] <= tokens:
                for others in cuts(ordered[size:]) if ordered[size:] else [[]]:
                    yield [ordered[:size], *others]

    found = [[lengths[i] for i in batch] for batch in batches_of_tokens(np.array(lengths), tokens, overhead)]
    assert cost(found) == min(map(cost, cuts(sorted(lengths, reverse=True))))


def test_a_chunk_is_bounded_in_rows_and_characters(monkeypatch):
    monkeypatch.setattr("bert_recipes.inference.batches.CHUNK_ROWS", 10)
    monkeypatch.setattr("bert_recipes.inference.batches.CHUNK_CHARACTERS", 100)
    rows = [TextRow(str(i), "x" * (90 if i == 3 else 1)) for i in range(30)]
    cut = list(chunks(iter(rows)))
    assert [row for chunk in cut for row in chunk] == rows
    assert max(map(len, cut)) == 10
    assert all(sum(len(r.text) for r in chunk) < 200 for chunk in cut)


def test_a_stream_that_begins_at_a_multiple_of_the_chunk_is_cut_as_the_whole(monkeypatch):
    monkeypatch.setattr("bert_recipes.inference.batches.CHUNK_ROWS", 10)
    monkeypatch.setattr("bert_recipes.inference.batches.CHUNK_CHARACTERS", 30)
    rows = [TextRow(str(i), "x" * (i * 7 % 12)) for i in range(57)]
    whole = list(chunks(iter(rows)))
    assert len(whole) > 6
    for start in range(0, 60, 10):
        assert [chunk for chunk in whole if start <= int(chunk[0].id)] == list(chunks(rows[start:]))


def test_of_other_columns_a_chunk_keeps_those_that_the_model_takes(monkeypatch):
    monkeypatch.setattr("bert_recipes.inference.batches.CHUNK_CHARACTERS", 100)
    rows = [TextRow(str(i), "a", None, {"html": "x" * 1000, "keyword": "k" * 40}) for i in range(5)]
    assert list(map(len, chunks(iter(rows), ["html", "price"]))) == [1] * 5
    kept = list(chunks(iter(rows), ["keyword", "price"]))
    assert list(map(len, kept)) == [3, 2]
    assert all(row.cells == {"keyword": "k" * 40} for chunk in kept for row in chunk)
    assert [row.cells for chunk in chunks(iter(rows)) for row in chunk] == [{}] * 5


@pytest.mark.parametrize("decimal", [".", ","])
def test_numbers_in_columns_have_the_decimal_mark_of_the_training(decimal, tiny_bert, tokenizer):
    train = Dataset.from_dict({"input_ids": [[2, 3]] * 2, "keyword": ["a", "b"], "price": [1.0, 4.0]})
    classifier = f"{OWN_CLASSIFIERS}:WithColumns"
    own = build_classifier(str(tiny_bert), CustomArguments(classifier=classifier), LABELS, splits={"train": train})
    predictor = Predictor(own, tokenizer, 32, {"decimal": decimal})
    prices = ["12,50", "12.5", 12.5, 2.5]
    rows = [TextRow("", "fire", None, {"keyword": "a", "price": price}) for price in prices]
    ((chunk, logits),) = predictor.logits(rows)
    assert [row.cells["price"] for row in chunk] == prices
    expected = 1 if decimal == "," else 3  # which says nothing, and takes the mean of train
    np.testing.assert_allclose(logits[0], logits[expected], atol=1e-6)
    np.testing.assert_allclose(logits[1], logits[2], atol=1e-6)
    assert predictor.strange["price"] == (decimal == ".")


def test_a_model_is_loaded_in_the_precision_that_is_asked_for(model):
    for half, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        parameters = dict(Predictor.load(str(model), bf16=half).model.named_parameters())
        scoring = {name for name in parameters if name.startswith("classifier")}
        assert {p.dtype for name, p in parameters.items() if name not in scoring} == {dtype}
        assert {parameters[name].dtype for name in scoring} == {torch.float32}


def test_the_output_is_never_the_input(model, tmp_path):
    source = tmp_path / "new.csv"
    write("csv", source, TEXTS[:3])
    before = source.read_bytes()
    (tmp_path / "link.csv").symlink_to(source)
    (tmp_path / "hard.csv").hardlink_to(source)
    for output in (source, tmp_path / "link.csv", tmp_path / "hard.csv", tmp_path / "x/../new.csv"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(UserError, match="is the file that --input reads: name another"):
            predict("--model", model, "--input", source, "--output", output)
    assert source.read_bytes() == before
    with source.open() as stdin, patch.object(sys, "stdin", stdin), pytest.raises(UserError, match="--input reads"):
        predict("--model", model, "--output", source)


def test_what_is_no_file_is_written_through(model, tmp_path):
    source, output = tmp_path / "new.csv", tmp_path / "out.csv"
    write("csv", source, TEXTS[:3])
    output.write_text("old")
    output.chmod(0o600)
    predict("--model", model, "--input", source, "--output", output, "--bf16", "false")
    assert output.stat().st_mode & 0o777 == 0o600
    predict("--model", model, "--input", source, "--output", "/dev/null", "--bf16", "false")
    assert Path("/dev/null").is_char_device()


def test_a_length_that_holds_no_text_is_refused(model):
    with pytest.raises(UserError, match="--max_length 0: give 3 or more"):
        predict("--model", model, "--max_length", "0")


def test_a_table_on_standard_input_is_refused(model, monkeypatch):
    for header in ("id,text\n", '"id";"text"\n'):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(f"{header}1,fire\n".encode())))
        with pytest.raises(UserError, match=r"first line is the header of a table \(id, text\)"):
            list(read_stream("-", text_column="text"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"text, and more\n")))
    assert [row.text for row in read_stream("-", text_column="text")] == ["text, and more"]


def test_a_model_that_is_not_there_is_said_before_the_rows_are(tmp_path):
    with pytest.raises(UserError, match=r"--model .*nothing"):
        predict("--model", tmp_path / "nothing", "--input", tmp_path / "none.csv")
