"""What is read is checked, and comes out whole and in order."""

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from support.reading import ROWS, read

from bert_recipes.errors import UserError


def test_a_folder_of_csv_files_keeps_ids_texts_and_order(folder):
    (folder / "train.csv").write_text("id,text,target\n" + ROWS)
    (folder / "test.csv").write_text('id,text\n007,"two\nlines, ""quoted"""\n3,NA\n')
    data = read(folder)
    assert data.splits["test"]["id"] == ["007", "3"]
    assert data.splits["test"]["text"] == ['two\nlines, "quoted"', "NA"]
    assert "labels" not in data.splits["test"].column_names
    assert len(data.splits["train"]) + len(data.splits["validation"]) == 20
    assert data.task.label_names == ["0", "1"]


def test_labels_take_the_order_that_is_asked_for(folder):
    (folder / "train.csv").write_text("text,label\n" + "\n".join(f"t{i},{'ab'[i % 2]}" for i in range(20)))
    assert read(folder).task.label_names == ["a", "b"]
    assert read(folder, labels=["b", "a"]).task.label_names == ["b", "a"]


def test_integers_in_disguise_are_integers(folder):
    (folder / "train.csv").write_text("text,label\n" + "\n".join(f"t{i},{i % 2}.0" for i in range(20)))
    assert read(folder).task.label_names == ["0", "1"]


BAD = {
    "no rows": ("text,label\n", "has a header and no rows"),
    "empty file": ("", "is empty"),
    "no text column": ("a,label\n1,2\n", "the text column has none of the usual names.*columns are a, label"),
    "two text columns": ("text,review,label\na,b,1\n", "could be any of text, review"),
    "no label column": ("text,b\n1,2\n", "the label column has none of the usual names"),
    "one class": ("text,label\na,1\nb,1\n", "one class only, '1'"),
    "empty label": ("text,label\na,1\nb,\nc,0\n", r"is empty in 1 row \(number 1, counted from 0\) of train"),
    "empty text": ("id,text,label\nx,,1\ny,b,0\n", r"is empty in 1 row \(id x\) of train"),
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


def test_an_empty_text_in_test_is_kept(folder):
    (folder / "train.csv").write_text("id,text,label\n" + ROWS)
    (folder / "test.csv").write_text("id,text\na,\nb,x\n")
    assert read(folder).splits["test"]["text"] == ["", "x"]


def test_class_labels_of_a_hub_like_file_and_its_unlabelled_test(folder):
    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    rows = {"text": [f"t{i}" for i in range(20)], "label": [i % 2 for i in range(20)]}
    Dataset.from_dict(rows, features=features).to_parquet(folder / "train.parquet")
    Dataset.from_dict({"text": ["a", "b"], "label": [-1, -1]}, features=features).to_parquet(folder / "test.parquet")
    data = read(folder)
    assert data.task.label_names == ["neg", "pos"]
    assert "labels" not in data.splits["test"].column_names


def test_a_labelled_test_keeps_its_labels_in_trains_order(folder):
    (folder / "train.jsonl").write_text("".join(f'{{"text": "t{i}", "label": {i % 2}}}\n' for i in range(20)))
    (folder / "test.csv").write_text("text,label\na,1\nb,0\n")
    assert read(folder).splits["test"]["labels"] == [1, 0]


WRONG_FILES = {
    "repeated ids in test": ({"test.csv": "id,text\na,x\na,y\n"}, "of test holds 1 ids more than once, a"),
    "no text in test": ({"test.csv": "id,body\na,x\n"}, "the test split has no column text; it has id, body"),
    "some labels in test": ({"test.csv": "id,text,label\na,x,1\nb,y,\n"}, r"is empty in 1 row \(id b\) of test"),
    "two train files": ({"train.tsv": "id\ttext\tlabel\n"}, "more than one file for the train split"),
    "two columns of a name": ({"test.csv": "id,text,text\na,x,y\n"}, "more than one column named 'text'"),
    "too many cells": ({"test.csv": "id,text\na,x\nb,y,z,z\n"}, "test.csv: line 3 has 4 cells, and the header has 2"),
    "broken json": ({"test.jsonl": '{"id": 1, "text": "a"}\n{"id": 2, \n'}, "test.jsonl: line 2 is not valid JSON"),
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


def test_repeated_ids_in_train_harm_nothing(folder):
    (folder / "train.csv").write_text("id,text,label\n" + "".join(f"{i % 7},t{i},{i % 2}\n" for i in range(40)))
    (folder / "test.csv").write_text("id,text\na,x\nb,y\n")
    data = read(folder)
    rows = sorted(
        (int(text[1:]), id, label)
        for split in ("train", "validation")
        for id, text, label in zip(*(data.splits[split][name] for name in ("id", "text", "labels")), strict=True)
    )
    assert rows == [(i, str(i % 7), i % 2) for i in range(40)]
    assert any(note.startswith("The id column 'id' of train holds 7 ids more than once") for note in data.notes)
    (folder / "validation.csv").write_text("id,text,label\na,x,0\na,y,1\n")
    with pytest.raises(UserError, match="of validation holds 1 ids more than once, a"):
        read(folder)


def test_a_split_other_than_test_may_lack_the_ids(folder):
    (folder / "train.csv").write_text("id,text,target\n" + ROWS)
    (folder / "validation.csv").write_text("text,target\na,0\nb,1\n")
    data = read(folder)
    assert data.splits["validation"]["id"][:] == ["0", "1"]
    (folder / "test.csv").write_text("text\na\n")
    with pytest.raises(UserError, match="the test split has no column id; it has text"):
        read(folder)


def test_a_decimal_comma_is_one_in_every_column_but_text_and_id(folder):
    cells = [f'"{i},5","{i},75","{i},25","{i},5 kg",{i % 2}\n' for i in range(20)]
    (folder / "train.csv").write_text("id,text,price,weight,target\n" + "".join(cells))
    for decimal, price in ((".", "3,25"), (",", "3.25")):
        splits = read(folder, decimal=decimal).splits
        (row,) = [row for rows in splits.values() for row in rows if row["id"] == "3,5"]
        assert (row["text"], row["price"], row["weight"]) == ("3,75", price, "3,5 kg")


def test_wide_files_are_shortened_in_sentences(folder):
    names = [f"column-{i:03}" for i in range(300)]
    (folder / "train.csv").write_text(",".join(names) + "\n" + ",".join("x" * 300) + "\n")
    for options in ({}, {"text_column": "words"}, {"id_column": "words"}, {"label_column": ["words"]}):
        with pytest.raises(UserError, match="column-019 and 280 more") as caught:
            read(folder, **options)
        assert len(str(caught.value)) < 700
