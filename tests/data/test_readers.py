"""Every type of file, and its encoding."""

import json

import pandas as pd
import pytest
from support.reading import ROWS, read

from bert_recipes.errors import UserError
from bert_recipes.inference.rows import TextRow, read_stream

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
    assert data.columns.text == "review"
    assert sorted(data.splits["train"]["text"][:] + data.splits["validation"]["text"][:]) == sorted(frame["review"])
    assert read(path).splits["train"]["id"] == data.splits["train"]["id"]


def test_json_rows_keep_their_types_of_id(tmp_path):
    path = tmp_path / "new.jsonl"
    path.write_text("".join(json.dumps({"idx": i, "text": f"t{i}"}) + "\n" for i in range(3)))
    assert list(read_stream(str(path))) == [TextRow(str(i), f"t{i}") for i in range(3)]
