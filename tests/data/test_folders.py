"""Which file of a folder is taken for which split, and what is said of the others."""

import json
from pathlib import Path

import pytest
from datasets import Dataset, DatasetDict
from support.reading import ROWS, read

from bert_recipes.config.arguments import DataArguments
from bert_recipes.data.folders import files_of
from bert_recipes.data.loading import load_data
from bert_recipes.errors import UserError
from bert_recipes.inference.rows import read_stream

LAYOUTS = {
    "plain": (["train.csv", "valid.tsv", "test.jsonl"], {"train": 0, "validation": 1, "test": 2}),
    "with data": (["train_data.csv", "test_data.csv"], {"train": 0, "test": 1}),
    "NSMC": (["ratings.txt", "ratings_train.txt", "ratings_test.txt"], {"train": 1, "test": 2}),
    "a prefix, and a plain test": (["movie-train.csv", "test.csv"], {"train": 0, "test": 1}),
    "capital letters": (["Train.CSV", "TEST.csv"], {"train": 0, "test": 1}),
    "compressed": (["train.csv.gz", "test.tsv.zip"], {"train": 0, "test": 1}),
    "the Hub's": (
        ["data/train-00000-of-00001.parquet", "data/test-00000-of-00001-0a1b.parquet"],
        {"train": 0, "test": 1},
    ),
    "the Hub's without data": (
        ["train-00000-of-00001.parquet", "dev-00000-of-00001.parquet"],
        {"train": 0, "validation": 1},
    ),
    "Jigsaw": (["train.csv", "test.csv", "test_labels.csv", "sample_submission.csv"], {"train": 0, "test": 1}),
}


def make(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name, tmp_path):
    names, splits = LAYOUTS[name]
    make(tmp_path, [*names, "README.md", ".DS_Store"])
    found = files_of(tmp_path)
    assert {split: [str(f.relative_to(tmp_path)) for f in files] for split, files in found.splits.items()} == {
        split: [names[number]] for split, number in splits.items()
    }
    used = {Path(names[number]).name for number in splits.values()}
    samples = {file for file in names if "submission" in file}
    assert set(found.unused) == {Path(file).name for file in names} - used - samples


@pytest.mark.parametrize(
    "name",
    [
        "sample_submission.csv",
        "sampleSubmission.csv",
        "SampleSubmission.csv.zip",
        "submission_format.csv",
        "sample-sub.tsv",
    ],
)
def test_sample_submissions(name, tmp_path):
    make(tmp_path, ["train.csv", name, "submission.csv", "my_sample.csv"])
    found = files_of(tmp_path)
    assert found.sample_submission == tmp_path / name
    assert found.unused == ["my_sample.csv", "submission.csv"]


DOUBTS = {
    "two kinds": (
        ["train.csv", "train.jsonl"],
        "more than one file for the train split: keep one of train.csv, train.jsonl",
    ),
    "two words": (
        ["train.csv", "val.csv", "dev.csv"],
        "more than one file for the validation split.*--validation_file",
    ),
    "two names": (
        ["a_train.csv", "b_train.csv"],
        "could be any of a_train.csv, b_train.csv: name it with --train_file",
    ),
    "two samples": (
        ["train.csv", "sample_submission.csv", "sampleSubmission.csv"],
        "more than one file for the sample",
    ),
    "nothing": (["notes.md"], "holds no data: expected train.csv"),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_what_could_be_several(name, tmp_path):
    names, sentence = DOUBTS[name]
    make(tmp_path, names)
    with pytest.raises(UserError, match=sentence):
        files_of(tmp_path)


def test_a_spreadsheet_in_a_folder_names_the_cure(folder):
    (folder / "train.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match=r"train.xlsx .* save it as CSV UTF-8"):
        read(folder)


def test_what_was_not_used_is_named(folder):
    (folder / "my_train.csv").write_text("id,text,label\n" + ROWS)
    (folder / "extra.csv").write_text("a\n1\n")
    notes = " ".join(read(folder).notes)
    assert "train is my_train.csv" in notes
    assert "Not used" in notes
    assert "extra.csv" in notes


def test_files_are_named_one_by_one(folder):
    for name in ("a.csv", "b.csv", "c.csv"):
        (folder / name).write_text("id,text,label\n" + "".join(f"{name}{i},{name} {i},{i % 2}\n" for i in range(20)))
    files = {"train_file": "a.csv", "validation_file": "b.csv", "test_file": "c.csv"}
    data = load_data(DataArguments(**{flag: str(folder / name) for flag, name in files.items()}))
    assert {split: rows["text"][0] for split, rows in data.splits.items()} == {
        "train": "a.csv 0",
        "validation": "b.csv 0",
        "test": "c.csv 0",
    }
    assert data.source == str(folder / "a.csv")
    with pytest.raises(UserError, match=r"--test_file nowhere.csv: there is no such file"):
        load_data(DataArguments(train_file=str(folder / "a.csv"), test_file="nowhere.csv"))


def test_a_test_file_is_laid_over_a_data_set(folder):
    (folder / "train.csv").write_text("id,text,label\n" + ROWS)
    (folder / "test.csv").write_text("id,text\n1,of the folder\n")
    (folder / "new.csv").write_text("id,text\n1,of the flag\n")
    assert read(folder, test_file=str(folder / "new.csv")).splits["test"]["text"] == ["of the flag"]


def test_parts_of_a_split_are_put_together_in_order(folder):
    for number in range(2):
        rows = {"id": [f"{number}-{i}" for i in range(20)], "text": [f"t {number} {i}" for i in range(20)]}
        Dataset.from_dict(rows | {"label": [0, 1] * 10}).to_parquet(folder / f"train-0000{number}-of-00002.parquet")
    Dataset.from_dict(rows).to_parquet(folder / "test-00000-of-00001.parquet")
    data = read(folder, validation_size=0.1)
    ids = data.splits["train"]["id"][:] + data.splits["validation"]["id"][:]
    assert sorted(ids) == sorted(f"{number}-{i}" for number in range(2) for i in range(20))
    Dataset.from_dict({"other": ["a"]}).to_parquet(folder / "train-00001-of-00002.parquet")
    with pytest.raises(UserError, match="parts of one split, and their columns differ"):
        read(folder)


def test_what_save_to_disk_wrote(tmp_path):
    rows = Dataset.from_dict({"idx": list(range(20)), "text": [f"t {i}" for i in range(20)], "label": ["a", "b"] * 10})
    rows.save_to_disk(tmp_path / "one")
    DatasetDict({"train": rows, "dev": rows.select(range(4)), "test": rows}).save_to_disk(tmp_path / "several")
    assert sum(map(len, read(tmp_path / "one").splits.values())) == 20
    data = read(tmp_path / "several")
    assert data.splits["validation"]["text"] == ["t 0", "t 1", "t 2", "t 3"]
    assert [(row.id, row.text) for row in read_stream(str(tmp_path / "one"))][:2] == [("0", "t 0"), ("1", "t 1")]
    with pytest.raises(UserError, match="holds the splits train, dev, test: give the folder of one"):
        read_stream(str(tmp_path / "several"))
    state = tmp_path / "one" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "_data_files": [{"filename": "gone.arrow"}]}))
    for start in (lambda: read(tmp_path / "one"), lambda: read_stream(str(tmp_path / "one"))):
        with pytest.raises(UserError, match="cannot be read as what save_to_disk wrote"):
            start()
