"""Corrected labels take the place of those in the data, or it is said why they cannot."""

import pytest
from support.rows import write_csv

from bert_recipes.config.arguments import DataArguments
from bert_recipes.data.loading import load_data
from bert_recipes.errors import UserError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    rows = [[f"a{i}", f"a text of number {i}", ["no", "yes"][i % 2]] for i in range(12)]
    write_csv(tmp_path / "data/train.csv", [["id", "text", "label"], *rows])
    write_csv(tmp_path / "data/validation.csv", [["id", "text", "label"], ["a1", "other", "yes"], ["v", "more", "no"]])
    write_csv(tmp_path / "data/test.csv", [["id", "text"], ["t", "unknown"]])
    return tmp_path / "data"


def load(folder, corrections, **options):
    path = folder.parent / "corrections.csv"
    write_csv(path, corrections)
    return load_data(DataArguments(dataset=[str(folder)], corrections=str(path), **options))


def labels(data, split):
    names = data.task.label_names
    rows = data.splits[split]
    cells = [names[c] if isinstance(c, int) else c for c in rows["labels"]]
    return dict(zip(rows["id"], cells, strict=True))


def test_labels_are_replaced_by_id_in_any_split_and_the_rest_stays(folder):
    plain = load_data(DataArguments(dataset=[str(folder)]))
    data = load(folder, [["note", "id", "label"], ["x", "a0", "yes"], ["", "a3", "yes"], ["", "v", "yes"]])
    assert labels(data, "train") == labels(plain, "train") | {"a0": "yes"}
    assert labels(data, "validation") == {"a1": "yes", "v": "yes"}
    assert data.splits["train"].features == plain.splits["train"].features
    assert (data.corrections.changed, data.corrections.same) == ({"train": 1, "validation": 1}, 1)
    (note,) = [note for note in data.notes if "corrections.csv" in note]
    assert note.endswith("changes: 1 of train, 1 of validation (1 of its rows say what the data says).")


def test_an_id_that_stands_in_two_splits_needs_the_split(folder):
    with pytest.raises(UserError, match="the id 'a1' stands in train and validation: add a column 'split'"):
        load(folder, [["id", "label"], ["a1", "no"]])
    data = load(folder, [["id", "split", "label"], ["a1", "validation", "no"]])
    assert (labels(data, "train")["a1"], labels(data, "validation")["a1"]) == ("yes", "no")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([["id", "label"], ["b", "no"]], "the id 'b' is none of the data's"),
        ([["id", "label", "split"], ["v", "no", "train"]], "the id 'v' is none of train's: correct or remove it"),
        ([["id", "label"], ["a0", "perhaps"]], "the id 'a0' has the label 'perhaps', and the data has no, yes"),
        ([["id", "label"], ["a0", ""]], "the id 'a0' has the label ''"),
        ([["id", "label"], ["a0", "no"], ["a0", "no"]], "the id 'a0' stands there twice"),
        ([["id", "label"], ["t", "no"]], "the id 't' is one of test, which has no labels"),
        ([["id", "target"], ["a0", "no"]], "has no column label, .* it has id, target"),
        ([["ID", "Label"], ["a0", "no"]], "has no column id, label, .* it has ID, Label"),
        (
            [["id", "split", "label"], ["a0", "Train", "no"]],
            "the split 'Train' .* is none of the data's: train, valid",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(rows, sentence, folder):
    with pytest.raises(UserError, match=sentence) as caught:
        load(folder, rows)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_said(folder):
    with pytest.raises(UserError, match=r"--corrections nowhere\.csv: there is no such file"):
        load_data(DataArguments(dataset=[str(folder)], corrections="nowhere.csv"))


def test_several_labels_and_values_are_spelt_as_predictions_are(tmp_path):
    (tmp_path / "data").mkdir()
    rows = [[f"r{i}", f"text {i}", i % 2, int(i % 3 == 0)] for i in range(12)]
    write_csv(tmp_path / "data/train.csv", [["id", "text", "a", "b"], *rows])
    several = {"label_column": ["a", "b"], "folds": 2}
    data = load(tmp_path / "data", [["id", "label"], ["r0", "a|b"], ["r1", ""]], task="multi-label", **several)
    assert (labels(data, "train")["r0"], labels(data, "train")["r1"]) == ([1.0, 1.0], [0.0, 0.0])
    data = load(tmp_path / "data", [["id", "label"], ["r0", "2.5|-1"]], task="regression", **several)
    assert labels(data, "train")["r0"] == [2.5, -1.0]
    with pytest.raises(UserError, match=r"the id 'r0' has '2\.5' for a label, and the data has 2 numbers"):
        load(tmp_path / "data", [["id", "label"], ["r0", "2.5"]], task="regression", **several)


def test_the_file_may_be_written_as_the_data_is(tmp_path):
    (tmp_path / "data").mkdir()
    rows = [f"r{i};Text {i};{i},5" for i in range(12)]
    (tmp_path / "data/train.csv").write_text("\n".join(["id;text;label", *rows]), encoding="cp949")
    flags = {"dataset": [str(tmp_path / "data")], "task": "regression", "decimal": ",", "delimiter": ";", "folds": 2}
    for text in ("id;label\nr0;7,5\n", 'id,label\nr0,"7,5"\n'):
        (tmp_path / "mine.csv").write_text(text)
        data = load_data(DataArguments(corrections=str(tmp_path / "mine.csv"), **flags))
        assert labels(data, "train")["r0"] == [7.5]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp949"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_spreadsheet_may_have_written_the_file_in_its_own_way(encoding, delimiter, tmp_path):
    (tmp_path / "data").mkdir()
    rows = [f"{i:03},본문 {i},{'가나'[i % 2]}" for i in range(12)]
    (tmp_path / "data/train.csv").write_text("\n".join(["id,text,label", *rows]), encoding="cp949")
    # So few letters of UTF-8 would not convince in the data.
    corrections = delimiter.join(["id", "label"]) + "\r\n" + delimiter.join(["001", "가"]) + "\r\n"
    (tmp_path / "mine.csv").write_bytes(corrections.encode(encoding))
    flags = {"dataset": [str(tmp_path / "data")], "encoding": "cp949", "folds": 2}
    data = load_data(DataArguments(corrections=str(tmp_path / "mine.csv"), **flags))
    assert (labels(data, "train")["001"], data.corrections.changed) == ("가", {"train": 1})


def test_a_file_of_one_column_too_few_cells_or_damage_is_said_as_it_is(folder):
    path = folder.parent / "corrections.csv"
    for content, sentence in [
        (b"id,label\na0\n", "line 2 has 1 cells, and the header has 2"),
        (b"id\na0\n", "has no column label"),
        (b"id;target\na0;no\n", "has no column label, .* it has id, target"),
        (b"", "is empty"),
        (b"id,label\na0,\xff\xfe\x00\n", "is not utf-8"),
    ]:
        path.write_bytes(content)
        with pytest.raises(UserError, match=sentence):
            load_data(DataArguments(dataset=[str(folder)], corrections=str(path)))


@pytest.mark.parametrize("cell", ["1", "1.0", " 1 ", "1.0 "])
def test_labels_are_read_as_those_of_the_data_are(cell, tmp_path):
    (tmp_path / "data").mkdir()
    write_csv(tmp_path / "data/train.csv", [["id", "text", "label"], *([i, f"text {i}", i % 2] for i in range(12))])
    data = load(tmp_path / "data", [["id", "label"], ["0", cell]], folds=2)
    assert labels(data, "train")["0"] == "1"


@pytest.mark.parametrize("cell", ["fire|flood", "fire,flood", "flood, fire", "['fire', 'flood']", '["flood","fire"]'])
def test_several_labels_may_be_spelt_as_those_of_the_data(cell, tmp_path):
    (tmp_path / "data").mkdir()
    rows = [[i, f"text {i}", ["fire,flood", "fire", "", "cake"][i % 4]] for i in range(16)]
    write_csv(tmp_path / "data/train.csv", [["id", "text", "labels"], *rows])
    given = {"label_column": ["labels"], "label_delimiter": ",", "folds": 2}
    data = load(tmp_path / "data", [["id", "label"], ["3", cell]], **given)
    assert data.task.label_names == ["cake", "fire", "flood"]
    assert labels(data, "train")["3"] == [0.0, 1.0, 1.0]
    with pytest.raises(UserError, match="the id '3' has the label 'fire,cak', and the data has cake, fire, flood"):
        load(tmp_path / "data", [["id", "label"], ["3", "fire,cak"]], **given)


def test_each_of_several_values_may_have_a_decimal_comma(tmp_path):
    (tmp_path / "data").mkdir()
    rows = [[i, f"text {i}", f"{i},5", f"-{i},25"] for i in range(12)]
    write_csv(tmp_path / "data/train.csv", [["id", "text", "a", "b"], *rows])
    given = {"label_column": ["a", "b"], "task": "regression", "decimal": ",", "folds": 2}
    data = load(tmp_path / "data", [["id", "label"], ["3", "7,5|2"], ["4", "[1.5, 2]"]], **given)
    assert (labels(data, "train")["3"], labels(data, "train")["4"]) == ([7.5, 2.0], [1.5, 2.0])


def test_an_id_that_several_rows_have_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    rows = [["a", f"text {i}", "no"] for i in range(3)] + [[f"b{i}", f"more {i}", "yes"] for i in range(9)]
    write_csv(tmp_path / "data/train.csv", [["id", "text", "label"], *rows])
    with pytest.raises(UserError, match="several rows of train have the id 'a': make their ids unique first"):
        load(tmp_path / "data", [["id", "label"], ["a", "yes"]], id_column="id")


def test_what_a_run_leaves_out_is_not_counted(folder):
    data = load(folder, [["id", "label"], ["a0", "yes"], ["v", "yes"]], folds=2)
    assert data.corrections.changed == {"train": 1}


def test_rows_are_dealt_by_the_labels_that_they_came_with(tmp_path):
    rows = [[f"a text of number {i}", ["no", "yes"][i % 2]] for i in range(40)]
    (tmp_path / "data").mkdir()
    write_csv(tmp_path / "data/train.csv", [["text", "label"], *rows])
    write_csv(tmp_path / "data/test.csv", [["text"], ["unknown"]])
    plain = load_data(DataArguments(dataset=[str(tmp_path / "data")]))
    # Most of one class: dealt by the new labels, others would be drawn. Their ids are the numbers of the rows.
    data = load(tmp_path / "data", [["id", "split", "label"], *([i, "train", "no"] for i in range(1, 33, 2))])
    assert data.corrections.changed == {"train": 16}
    assert data.splits["validation"]["id"] == plain.splits["validation"]["id"]
    assert data.splits["validation"]["labels"] != plain.splits["validation"]["labels"]
