"""What is read, guessed, checked and cut."""

import pytest

from bert_recipes.arguments import DataArguments
from bert_recipes.data import load_data, split_off_validation, tokenize
from bert_recipes.errors import UserError

ROWS = "\n".join(f"{i},text number {i},{i % 2}" for i in range(20))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
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
    assert data.label_names == ["0", "1"]


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
    assert read(folder).label_names == ["a", "b"]
    assert read(folder, labels=["b", "a"]).label_names == ["b", "a"]


def test_integers_in_disguise_are_integers(folder):
    (folder / "train.csv").write_text("text,label\n" + "\n".join(f"t{i},{i % 2}.0" for i in range(20)))
    assert read(folder).label_names == ["0", "1"]


def test_tokenizing_cuts_and_counts(tokenizer, folder):
    (folder / "train.csv").write_text("text,label\n" + "\n".join(f"fire {'flood ' * i},{i % 2}" for i in range(20)))
    tokens = tokenize(read(folder).splits, tokenizer, max_length=8)["train"]
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
    "empty label": ("text,label\na,1\nb,\nc,0\n", "is empty in 1 rows of train, 1"),
    "real numbers": ("text,label\na,1.5\nb,2\n", "real numbers such as 1.5: that is a regression"),
    "empty text": ("id,text,label\nx,,1\ny,b,0\n", "empty in 1 rows of train, ids x"),
    "duplicate ids": ("id,text,label\nx,a,1\nx,b,0\n", "holds 1 ids more than once, x"),
    "NUL byte": ("text,label\na\0,1\nb,0\n", "NUL byte at byte 12"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_end_in_one_sentence(case, folder):
    content, sentence = BAD[case]
    (folder / "train.csv").write_text(content)
    with pytest.raises(UserError, match=sentence):
        read(folder)


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
    train, validation = split_off_validation(data.splits["train"], 0.1, 0)
    assert len(data.label_names) == 5
    assert not set(train["text"]) & set(validation["text"])
