"""Every type of file, and its encoding."""

import io
import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.reading import ROWS, read

from bert_recipes.data.text_files import TextFormat
from bert_recipes.errors import UserError
from bert_recipes.inference.rows import read_stream

TWO_COLUMNS = "\n".join(f"text number {i},{i % 2}" for i in range(20))


def test_a_file_that_is_not_utf8_names_the_byte(folder):
    (folder / "train.csv").write_bytes("text,label\ncafé,1\nb,0\n".encode("latin-1") + ROWS.encode())
    with pytest.raises(UserError, match="byte 14 cannot be decoded"):
        read(folder)


def test_a_byte_order_mark_and_crlf_do_not_reach_the_texts(folder):
    (folder / "train.csv").write_bytes(("\ufeffid,text,label\r\n" + ROWS.replace("\n", "\r\n")).encode())
    data = read(folder)
    assert data.columns.id == "id"
    assert not any("\r" in text or "\ufeff" in text for text in data.splits["train"]["text"])


def test_another_encoding_is_read_when_named(folder):
    (folder / "train.csv").write_bytes(("text,label\ncafé,1\nb,0\n" + TWO_COLUMNS).encode("latin-1"))
    splits = read(folder, encoding="latin-1").splits
    assert "café" in splits["train"]["text"][:] + splits["validation"]["text"][:]
    with pytest.raises(UserError, match="no encoding 'klingon'"):
        read(folder, encoding="klingon")


@pytest.mark.parametrize("ending", [".tsv", ".jsonl", ".parquet"])
def test_other_kinds_of_files(ending, folder):
    frame = pd.DataFrame({"review": [f"text, {i}" for i in range(20)], "label": [i % 2 for i in range(20)]})
    path = folder / f"train{ending}"
    if ending == ".tsv":
        frame.to_csv(path, sep="\t", index=False)
    elif ending == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    data = read(folder)
    assert data.task.label_names == ["0", "1"]
    assert data.columns.text == ["review"]
    assert sorted(data.splits["train"]["text"][:] + data.splits["validation"]["text"][:]) == sorted(frame["review"])
    assert read(path).splits["train"]["id"] == data.splits["train"]["id"]


def test_json_rows_keep_their_types_of_id(tmp_path):
    path = tmp_path / "new.jsonl"
    path.write_text("".join(json.dumps({"idx": i, "text": f"t{i}"}) + "\n" for i in range(3)))
    assert [row[:2] for row in read_stream(str(path))] == [(str(i), f"t{i}") for i in range(3)]


def write_parquet(path, **columns):
    pq.write_table(pa.table(columns), path)


def not_utf8(count):
    raw = pa.array([b"\xff" if i == 5 else b"good" for i in range(count)], pa.binary())
    return pa.Array.from_buffers(pa.string(), count, raw.buffers())


def damaged_page(path):
    write_parquet(path, text=[f"text {i}" for i in range(2000)], label=[i % 2 for i in range(2000)])
    data = bytearray(path.read_bytes())
    data[40:400] = bytes(360)
    path.write_bytes(data)


DAMAGES = {
    "a damaged page": (".parquet", damaged_page),
    "half a file": (".parquet", lambda path: (damaged_page(path), path.write_bytes(path.read_bytes()[:5000]))),
    "text that is none": (".parquet", lambda path: write_parquet(path, text=not_utf8(9), label=[0, 1, 0] * 3)),
    "text that is none in a list": (
        ".parquet",
        lambda path: write_parquet(path, text=["a"] * 9, label=pa.ListArray.from_arrays(list(range(10)), not_utf8(9))),
    ),
    "no rows": (".parquet", lambda path: write_parquet(path, text=pa.array([], pa.string()), label=pa.array([]))),
    "deep lists": (".jsonl", lambda path: path.write_text('{"text": ' + "[" * 100 + "]" * 100 + ', "label": 1}\n')),
    "lists that overflow": (".jsonl", lambda path: path.write_text("[" * 10**5 + "\n")),
    "half a character": (".jsonl", lambda path: path.write_text('{"id": "\\ud83d", "text": "a", "label": 1}\n')),
    "half a character in a name": (
        ".jsonl",
        lambda path: path.write_text('{"\\ud83d": 1, "text": "a", "label": 1}\n'),
    ),
    "utf-16 without a mark": (".csv", lambda path: path.write_bytes("text,label\na,1\nb,0\n".encode("utf-16-be"))),
}
ENCODING = {"utf-16 without a mark": "utf-16"}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_one_sentence_in_training_and_in_prediction(name, tmp_path):
    ending, damage = DAMAGES[name]
    path = tmp_path / f"train{ending}"
    damage(path)
    options = {"encoding": ENCODING.get(name, "utf-8")}
    starts = [lambda: read(path, **options), lambda: list(read_stream(str(path), text_format=TextFormat(**options)))]
    for start in starts[: 1 if name == "no rows" else 2]:
        with pytest.raises(UserError, match=f"train{ending}") as caught:
            start()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["rot13", "base64", "undefined", "", "utf-9", "unicode_escape", "UTF7"])
def test_what_is_no_encoding_of_text_is_said(encoding, tmp_path, monkeypatch):
    path = tmp_path / "train.csv"
    path.write_text("text,label\n" + TWO_COLUMNS)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\n")))
    for start in (
        lambda: read(path, encoding=encoding),
        lambda: list(read_stream("-", text_format=TextFormat(encoding))),
    ):
        with pytest.raises(UserError, match=f"there is no encoding '{encoding}'"):
            start()


def test_standard_input_is_decoded_as_a_whole(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("산\n\u0a0a\n".encode("utf-16"))))
    assert [row.text for row in read_stream("-", text_format=TextFormat("utf-16"))] == ["산", "\u0a0a"]


@pytest.mark.parametrize("kind", [pa.string_view(), pa.dictionary(pa.int8(), pa.string()), pa.large_string()])
def test_text_of_every_type_of_arrow_is_read_alike(kind, tmp_path):
    path = tmp_path / "train.parquet"
    texts = pa.array([f"text {i}" for i in range(20)])
    ids = pa.array([f"id {i}" for i in range(20)])
    write_parquet(path, id=ids.cast(kind), text=texts.cast(kind), label=pa.array(["a", "b"] * 10).cast(kind))
    splits = read(path).splits
    assert sorted(splits["train"]["text"][:] + splits["validation"]["text"][:]) == sorted(texts.to_pylist())
    assert list(read_stream(str(path)))[3][:2] == ("id 3", "text 3")


def test_what_a_column_of_lists_can_not_be_is_said(tmp_path):
    lists = [[i] for i in range(20)]
    text, label = [f"text {i}" for i in range(20)], [i % 2 for i in range(20)]
    path = tmp_path / "train.parquet"
    write_parquet(path, id=lists, text=text, label=label)
    with pytest.raises(UserError, match="the id column 'id' of train holds list"):
        read(path)
    write_parquet(path, text=text, a=lists, b=label)
    with pytest.raises(
        UserError, match=r"the label column 'a' of train holds list.*: give one label or number in each"
    ):
        read(path, label_column=["a", "b"])
    write_parquet(path, text=text, label=label)
    write_parquet(tmp_path / "validation.parquet", text=text, label=lists)
    with pytest.raises(UserError, match="the label column 'label' of validation holds list"):
        read(tmp_path)


def test_what_datasets_has_written_into_a_file_may_be_damaged(tmp_path):
    table = pa.table({"text": ["a"] * 20, "label": [0, 1] * 10})
    for metadata in (b"no json", b'{"info": {"features": {"text": {"_type": "nothing of the kind"}}}}'):
        pq.write_table(table.replace_schema_metadata({b"huggingface": metadata}), tmp_path / "train.parquet")
        with pytest.raises(UserError, match="cannot be read: its columns are of types that datasets does"):
            read(tmp_path)


@pytest.mark.parametrize(
    ("name", "mark"), [("semicolon", ";"), ("comma", ","), ("bar", "|"), ("tab", "\t"), ("\\t", "\t"), ("~", "~")]
)
def test_delimiters_have_names_that_a_shell_leaves_alone(name, mark):
    assert TextFormat(delimiter=name).delimiter == mark


def test_what_is_no_delimiter_is_refused_with_the_names():
    with pytest.raises(UserError, match="give one character, or comma, semicolon, tab, bar"):
        TextFormat(delimiter="semi")
