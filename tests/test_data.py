"""What is read, guessed, checked and cut."""

import os
import subprocess
import sys
import time

import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from bert_recipes.arguments import DataArguments
from bert_recipes.data import load_data, split_off_validation, tokenize
from bert_recipes.errors import UserError

ROWS = "\n".join(f"{i},text number {i},{i % 2}" for i in range(20))
TWO_COLUMNS = "\n".join(f"text number {i},{i % 2}" for i in range(20))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def read(folder, **options):
    return load_data(DataArguments(dataset=str(folder), **options))


def test_a_folder_of_csv_files_keeps_ids_texts_and_order(folder):
    (folder / "train.csv").write_text("id,text,target\n" + ROWS)
    (folder / "test.csv").write_text('id,text\n007,"two\nlines, ""quoted"""\n3,NA\n')
    data = read(folder)
    assert data.splits["test"]["id"] == ["007", "3"]
    assert data.splits["test"]["text"] == ['two\nlines, "quoted"', "NA"]
    assert "labels" not in data.splits["test"].column_names
    assert len(data.splits["train"]) + len(data.splits["validation"]) == 20
    assert data.labels.names == ["0", "1"]


def test_copies_of_a_text_stay_on_one_side(folder):
    rows = "\n".join(f"copy {i % 40},{'yes' if i % 40 < 15 else 'no'}" for i in range(120))
    (folder / "train.csv").write_text("text,label\n" + rows)
    splits = read(folder, validation_size=0.25).splits
    assert not set(splits["train"]["text"]) & set(splits["validation"]["text"])
    assert 24 <= len(splits["validation"]) <= 36


def test_the_cut_is_seeded_and_stratified(folder):
    (folder / "train.csv").write_text("text,label\n" + "\n".join(f"t{i},{int(i < 30)}" for i in range(100)))
    first, again = read(folder).splits, read(folder).splits
    other = read(folder, split_seed=1).splits
    assert first["validation"]["id"] == again["validation"]["id"] != other["validation"]["id"]
    assert sum(first["validation"]["labels"]) == 3


def test_labels_take_the_order_that_is_asked_for(folder):
    (folder / "train.csv").write_text("text,label\n" + "\n".join(f"t{i},{'ab'[i % 2]}" for i in range(20)))
    assert read(folder).labels.names == ["a", "b"]
    assert read(folder, labels=["b", "a"]).labels.names == ["b", "a"]


def test_integers_in_disguise_are_integers(folder):
    (folder / "train.csv").write_text("text,label\n" + "\n".join(f"t{i},{i % 2}.0" for i in range(20)))
    assert read(folder).labels.names == ["0", "1"]


def test_tokenizing_cuts_and_counts(tokenizer, tiny_bert, folder):
    (folder / "train.csv").write_text("text,label\n" + "\n".join(f"fire {'flood ' * i},{i % 2}" for i in range(20)))
    tokens = tokenize(read(folder).splits, tokenizer, 8, str(tiny_bert))["train"]
    assert max(tokens["length"]) == 8
    for text, truncated in zip(tokens["text"], tokens["truncated"], strict=True):
        assert truncated == (len(text.split()) + 2 > 8)


BAD = {
    "no rows": ("text,label\n", "has a header and no rows"),
    "empty file": ("", "is empty"),
    "no text column": ("a,label\n1,2\n", "the text column has none of the usual names.*columns are a, label"),
    "two text columns": ("text,review,label\na,b,1\n", "could be any of text, review"),
    "no label column": ("text,b\n1,2\n", "the label column has none of the usual names"),
    "one class": ("text,label\na,1\nb,1\n", "one class only, '1'"),
    "empty label": ("text,label\na,1\nb,\nc,0\n", r"is empty in 1 row \(number 1, counted from 0\) of train"),
    "empty text": ("id,text,label\nx,,1\ny,b,0\n", r"is empty in 1 row \(id x\) of train"),
    "duplicate ids": ("id,text,label\nx,a,1\nx,b,0\n", "holds 1 ids more than once, x"),
    "two pairs": (
        "text1,text2,premise,hypothesis,label\na,b,c,d,1\n",
        "any of the pairs premise and hypothesis; text1 and text2",
    ),
    "NUL byte": ("text,label\na\0,1\nb,0\n", "NUL byte at byte 12"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_end_in_one_sentence(case, folder):
    content, sentence = BAD[case]
    (folder / "train.csv").write_text(content)
    with pytest.raises(UserError, match=sentence) as caught:
        read(folder)
    assert "\n" not in str(caught.value)


def test_a_label_that_train_never_saw(folder):
    (folder / "train.csv").write_text("text,label\n" + "\n".join(f"t{i},{i % 2}" for i in range(20)))
    (folder / "validation.csv").write_text("text,label\na,2\n")
    with pytest.raises(UserError, match="validation has labels that train never saw: 2; train has 0, 1"):
        read(folder)


def test_a_file_that_is_not_utf8_names_the_byte(folder):
    (folder / "train.csv").write_bytes("text,label\ncafé,1\nb,0\n".encode("latin-1") + ROWS.encode())
    with pytest.raises(UserError, match="byte 14 cannot be decoded"):
        read(folder)


def test_a_path_that_does_not_exist():
    with pytest.raises(UserError, match="no such file or folder"):
        load_data(DataArguments(dataset="no/such/folder"))


def test_embedded_data_is_cut_without_a_network():
    data = load_data(DataArguments(dataset="embedded:bbc-news"))
    train, validation = split_off_validation(data.splits["train"], 0.1, 0, data.labels.problem_type)
    assert len(data.labels.names) == 5
    assert not set(train["text"]) & set(validation["text"])


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


def test_an_empty_text_in_test_is_kept(folder):
    (folder / "train.csv").write_text("id,text,label\n" + ROWS)
    (folder / "test.csv").write_text("id,text\na,\nb,x\n")
    assert read(folder).splits["test"]["text"] == ["", "x"]


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
    assert data.labels.names == ["0", "1"]
    assert data.columns.text == "review"
    assert sorted(data.splits["train"]["text"][:] + data.splits["validation"]["text"][:]) == sorted(frame["review"])
    assert read(path).splits["train"]["id"] == data.splits["train"]["id"]


def test_class_labels_of_a_hub_like_file_and_its_unlabelled_test(folder):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    rows = {"text": [f"t{i}" for i in range(20)], "label": [i % 2 for i in range(20)]}
    Dataset.from_dict(rows, features=features).to_parquet(folder / "train.parquet")
    Dataset.from_dict({"text": ["a", "b"], "label": [-1, -1]}, features=features).to_parquet(folder / "test.parquet")
    data = read(folder)
    assert data.labels.names == ["neg", "pos"]
    assert "labels" not in data.splits["test"].column_names


def test_pairs_are_found_and_tokenized_together(folder, tokenizer, tiny_bert):
    rows = "".join(f"fire {i},cake,{i % 2}\n" for i in range(20))
    (folder / "train.csv").write_text("premise,hypothesis,label\n" + rows)
    data = read(folder)
    assert (data.columns.text, data.columns.text_pair) == ("premise", "hypothesis")
    assert 1 in tokenize(data.splits, tokenizer, 16, str(tiny_bert))["train"][0]["token_type_ids"]


def test_a_labelled_test_keeps_its_labels_in_trains_order(folder):
    (folder / "train.jsonl").write_text("".join(f'{{"text": "t{i}", "label": {i % 2}}}\n' for i in range(20)))
    (folder / "test.csv").write_text("text,label\na,1\nb,0\n")
    assert read(folder).splits["test"]["labels"] == [1, 0]


def test_the_first_data_set_that_is_here_is_taken(folder):
    (folder / "train.csv").write_text("id,text,label\n" + ROWS)
    data = load_data(DataArguments(dataset=[str(folder / "nowhere"), str(folder), "owner/name"]))
    assert data.source == str(folder)


def test_a_hub_id_while_offline_names_the_alternatives_in_time(monkeypatch):
    # An address of the range kept for documentation: nothing is there to answer.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://192.0.2.1")
    started = time.monotonic()
    with pytest.raises(UserError, match=r"cannot be reached .*data/here or embedded:fine-foods or embedded:bbc-news"):
        load_data(DataArguments(dataset=["data/here", "venetis/disaster_tweets"]))
    assert time.monotonic() - started < 10


WRONG_FILES = {
    "repeated ids in test": ({"test.csv": "id,text\na,x\na,y\n"}, "of test holds 1 ids more than once, a"),
    "no text in test": ({"test.csv": "id,body\na,x\n"}, "the test split has no column text; it has id, body"),
    "some labels in test": ({"test.csv": "id,text,label\na,x,1\nb,y,\n"}, r"is empty in 1 row \(id b\) of test"),
    "two train files": ({"train.tsv": "id\ttext\tlabel\n"}, "more than one file for the train split"),
    "two columns of a name": ({"test.csv": "id,text,text\na,x,y\n"}, "more than one column named 'text'"),
    "too many cells": ({"test.csv": "id,text\na,x\nb,y,z,z\n"}, "cannot be read as csv: .*line 3"),
    "broken json": ({"test.jsonl": '{"id": 1, "text": "a"}\n{"id": 2, \n'}, "cannot be read as jsonl"),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_wrong_files_beside_a_right_one(case, folder):
    files, sentence = WRONG_FILES[case]
    (folder / "train.csv").write_text("id,text,label\n" + ROWS)
    for name, content in files.items():
        (folder / name).write_text(content)
    with pytest.raises(UserError, match=sentence) as caught:
        read(folder)
    assert "\n" not in str(caught.value)


def test_a_file_of_no_known_kind_and_an_empty_folder(folder):
    with pytest.raises(UserError, match=r"holds no data: expected train\.csv"):
        read(folder)
    (folder / "train.docx").write_text("x")
    with pytest.raises(UserError, match="of no known kind"):
        read(folder / "train.docx")


def test_a_second_process_reads_tokens_from_the_cache(folder, tiny_bert, tmp_path):
    (folder / "train.csv").write_text("id,text,label\n" + ROWS)
    code = (
        "import sys; from transformers import AutoTokenizer; from bert_recipes.data import load_data, tokenize;"
        "from bert_recipes.arguments import DataArguments;"
        "data = load_data(DataArguments(dataset=sys.argv[1]));"
        "tokenize(data.splits, AutoTokenizer.from_pretrained(sys.argv[2]), int(sys.argv[3]), sys.argv[2])"
    )

    def files(max_length):
        command = [sys.executable, "-c", code, str(folder), str(tiny_bert), str(max_length)]
        subprocess.run(command, check=True, env=os.environ | {"HF_DATASETS_CACHE": str(tmp_path / "datasets")})
        return {path.name for path in (tmp_path / "datasets").rglob("*.arrow")}

    first = files(16)
    assert len(first) >= 4
    assert files(16) == first
    assert len(files(8)) == len(first) + 2


def test_a_column_called_as_one_of_the_runs_own_is_left_out_aloud(folder):
    (folder / "train.csv").write_text(
        "id,text,target,fold,place\n" + "".join(f"{i},t{i},{i % 2},1,x\n" for i in range(20))
    )
    data = read(folder)
    assert "Left out, since a run has columns of that name itself: fold." in data.notes
    assert data.splits["train"].column_names == ["id", "text", "labels", "place"]
