"""The task is guessed from the labels or taken from the flags, and every cell becomes the numbers it says."""

import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from bert_recipes.config.arguments import DataArguments
from bert_recipes.data.loading import load_data
from bert_recipes.errors import UserError


def read(folder, columns, kind="csv", test=None, **options):
    """Write forty rows with these label columns and read them back."""
    for name, values in {"train": columns, "test": test}.items():
        if values is not None:
            rows = len(next(iter(values.values())))
            frame = pd.DataFrame({"text": [f"{name} {i}" for i in range(rows)], **values})
            if kind == "csv":
                frame.to_csv(folder / f"{name}.csv", index=False)
            else:
                frame.to_json(folder / f"{name}.jsonl", orient="records", lines=True)
    return load_data(DataArguments(dataset=str(folder), label_column=list(columns), **options))


def labels_in_order(data):
    """Return the labels of train and validation in the order of the file."""
    rows = [(int(i), label) for split in ("train", "validation") for i, label in _rows(data.splits[split])]
    return [label for _, label in sorted(rows, key=lambda row: row[0])]


def _rows(split):
    return zip(split["id"], split["labels"], strict=True)


TAGS = [["storm"], ["storm", "flood"], [], ["fire"]] * 10
EXPECTED_TAGS = [[0.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]] * 10


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        ("jsonl", TAGS),
        ("csv", ["|".join(tags) for tags in TAGS]),
        ("csv", [" ; ".join(tags) for tags in TAGS]),
        ("csv", [json.dumps(tags) for tags in TAGS]),
        ("csv", [str(tags) for tags in TAGS]),
    ],
    ids=["lists", "joined by |", "joined by ;", "JSON", "as pandas writes lists"],
)
def test_several_labels_in_one_column_are_recognised(kind, cells, folder):
    # One more combination, so that there are more distinct cells than labels.
    more = {"jsonl": ["fire", "flood"], "|": "fire|flood", ";": "fire ; flood", "[": '["fire", "flood"]'}
    key = "jsonl" if kind == "jsonl" else next(mark for mark in "[|;" if any(mark in cell for cell in cells))
    data = read(folder, {"tags": [*cells, more[key]]}, kind)
    assert data.task.name == "multi-label"
    assert data.task.label_names == ["fire", "flood", "storm"]
    assert labels_in_order(data) == [*EXPECTED_TAGS, [1.0, 1.0, 0.0]]
    assert any("guessed from the labels: multi-label" in note for note in data.notes)


def test_one_column_per_label_is_recognised(folder):
    data = read(folder, {"fire": [1, 0, 1, 0] * 10, "flood": [0, 0, 1, 1] * 10})
    assert (data.task.name, data.task.label_names) == ("multi-label", ["fire", "flood"])
    assert labels_in_order(data) == [[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 1.0]] * 10


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_true_and_false_are_two_classes(kind, folder):
    data = read(folder, {"target": [i % 4 == 0 for i in range(40)]}, kind)
    assert (data.task.name, data.task.label_names) == ("binary", ["False", "True"])
    assert labels_in_order(data) == [1, 0, 0, 0] * 10


def test_real_numbers_are_a_regression_of_one_target_or_several(folder):
    data = read(folder, {"score": [0.5, 1.25, -2, 3] * 10})
    assert (data.task.name, data.task.label_names) == ("regression", ["score"])
    assert labels_in_order(data) == [[0.5], [1.25], [-2.0], [3.0]] * 10
    data = read(folder, {"joy": [1, 2, 3, 4] * 10, "anger": [0.5, 0, 0, 1] * 10})
    assert (data.task.name, data.task.label_names) == ("regression", ["joy", "anger"])
    assert labels_in_order(data)[:2] == [[1.0, 0.5], [2.0, 0.0]]


def test_a_list_of_real_numbers_is_a_regression_of_several_targets(folder):
    data = read(folder, {"vad": [[0.5, 1.5], [0.25, 2.0]] * 20}, "jsonl")
    assert (data.task.name, data.task.label_names) == ("regression", ["vad_0", "vad_1"])
    assert labels_in_order(data)[:2] == [[0.5, 1.5], [0.25, 2.0]]


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
@pytest.mark.parametrize("number", [int, float])
def test_lists_of_0_and_1_are_one_label_each(number, kind, folder):
    cells = [[number(a), number(b), number(c)] for a, b, c in ((1, 0, 1), (0, 0, 1), (0, 1, 0), (0, 0, 0))] * 10
    columns = {"labels": [str(cell) for cell in cells] if kind == "csv" else cells}
    data = read(folder, columns, kind)
    assert (data.task.name, data.task.label_names) == ("multi-label", ["labels_0", "labels_1", "labels_2"])
    assert labels_in_order(data) == [[float(value) for value in cell] for cell in cells]
    assert read(folder, columns, kind, labels=["a", "b", "c"]).task.label_names == ["a", "b", "c"]


def test_lists_of_numbers_written_as_text_are_several_targets(folder):
    data = read(folder, {"vad": ["[0.1, 0.33]", "[0.5, 2]"] * 20})
    assert (data.task.name, labels_in_order(data)[:2]) == ("regression", [[0.1, 0.33], [0.5, 2.0]])


def test_one_cell_that_does_not_parse_is_named_and_changes_no_task(folder):
    with pytest.raises(UserError, match=r"label cell '\[\"a\", \"b\"' in 1 row \(number 7"):
        read(folder, {"tags": ['["a", "b"]'] * 7 + ['["a", "b"'] + ['["a"]'] * 32})


def test_ids_out_of_the_range_of_a_class_label_are_named(folder):
    names = ClassLabel(names=["x", "y"])
    rows = {"text": [f"t{i}" for i in range(20)]}
    for feature, good, bad, sentence in (
        (names, 1, 7, r"labels that train never saw: 7 \(out of range\)"),
        (List(names), [1], [9], r"a label out of range, \[9\] in 1 row \(number 3"),
    ):
        features = Features({"text": Value("string"), "label": feature})
        table = pa.table({**rows, "label": [good] * 3 + [bad] + [good if feature is names else [0]] * 16})
        Dataset(table.cast(features.arrow_schema)).to_parquet(folder / "train.parquet")
        with pytest.raises(UserError, match=sentence):
            load_data(DataArguments(dataset=str(folder)))


@pytest.mark.parametrize(
    ("cells", "task", "sentence"),
    [
        ([[0.5, 1.5], None] * 20, "regression", "'y' is empty in 20 rows"),
        ([{"a": 1}, {"a": 2}] * 20, None, "holds struct<a: int64>: give a label, a number or a list of them"),
    ],
)
def test_cells_of_a_json_file_that_are_no_labels(cells, task, sentence, folder):
    with pytest.raises(UserError, match=sentence):
        read(folder, {"y": cells}, "jsonl", task=task)


def test_labels_that_hold_once_each_can_still_be_cut(folder):
    data = read(folder, {"tags": [f"only {i}" for i in range(40)]}, task="multi-label")
    assert len(data.splits["validation"]) == 4


@pytest.mark.parametrize(
    ("cells", "task"),
    [
        (["a", "b"], "binary"),
        (["a", "b", "c"], "multi-class"),
        (["1", "2", "3", "4", "5"], "multi-class"),
        (["politics, world", "sport"], "binary"),
        (["Bath, England", "Bath, Maine", "York"], "multi-class"),
    ],
)
def test_one_label_a_row_is_a_class(cells, task, folder):
    data = read(folder, {"label": cells * 10})
    assert (data.task.name, sorted(data.task.label_names)) == (task, sorted(cells))


def test_the_flags_win_over_the_guess(folder):
    cells = ["1", "2", "3", "4", "5"] * 8
    data = read(folder, {"stars": cells}, task="regression")
    assert data.task.name == "regression"
    assert labels_in_order(data)[:2] == [[1.0], [2.0]]
    assert not any("guessed from the labels" in note for note in data.notes)
    data = read(folder, {"tags": ["a b", "a", "b", "a b"] * 10}, label_delimiter=" ")
    assert (data.task.name, data.task.label_names) == ("multi-label", ["a", "b"])
    assert read(folder, {"tags": ["a", "b"] * 20}, task="multi-label").task.name == "multi-label"
    assert read(folder, {"tags": ["a/b", "a"] * 20}, label_delimiter="/", labels=["b", "a"]).task.label_names == [
        "b",
        "a",
    ]


@pytest.mark.parametrize(
    ("columns", "test", "labelled"),
    [
        ({"tags": ["a|b", "a", "b", "b|a"] * 10}, {"tags": ["", ""]}, False),
        ({"tags": ["a|b", "a", "b", "b|a"] * 10}, {"other": ["x"]}, False),
        ({"tags": ["a|b", "a", "b", "b|a"] * 10}, {"tags": ["", "b"]}, True),
        ({"score": [0.5, 1.5] * 20}, {"score": ["", ""]}, False),
        ({"score": [0.5, 1.5] * 20}, {"score": [2.5, 3]}, True),
        ({"x": [0, 1] * 20, "y": [1, 1] * 20}, {"x": [1, 0]}, False),
    ],
)
def test_a_test_split_may_lack_labels(columns, test, labelled, folder):
    data = read(folder, columns, test=test)
    assert ("labels" in data.splits["test"].column_names) == labelled


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize(
    "cells",
    [
        ["01", "02", "10", "011"],
        ["1_1", "11", "2_1", "21"],
        ["1e3", "1000", "1.0x", "6"],
        ["+1", "-1", "1", "0"],
        ["9007199254740992", "9007199254740993", "1", "2"],
        ["1.50.1", "1.5", "1.10", "1.1"],
    ],
)
def test_labels_stay_as_spelled(cells, kind, folder):
    data = read(folder, {"label": cells * 10}, kind)
    assert data.task.name == "multi-class"
    assert sorted(data.task.label_names) == sorted(cells)
    assert [data.task.label_names[label] for label in labels_in_order(data)] == cells * 10


def test_whole_floats_are_the_numbers_they_are(folder):
    write = {"label": pa.array([1.0, 2.0, 1.8e19, 3.0] * 10), "text": [f"text {i}" for i in range(40)]}
    Dataset(pa.table(write)).to_parquet(folder / "train.parquet")
    names = load_data(DataArguments(dataset=str(folder))).task.label_names
    assert names == ["1", "2", "3", "18000000000000000000"]


def test_labels_of_several_in_a_cell_are_spelled_alike(folder):
    data = read(folder, {"tags": ["1.0|2.0", "1.0", "2", "1|2"] * 10}, label_delimiter="|")
    assert data.task.label_names == ["1", "2"]


ONE_HOT = {"EAP": [1, 0, 0, 0] * 10, "HPL": [0, 1, 0, 1] * 10, "MWS": [0, 0, 1, 0] * 10}


def test_one_column_per_class_is_multi_class(folder):
    data = read(folder, ONE_HOT)
    assert (data.task.name, data.task.label_names) == ("multi-class", ["EAP", "HPL", "MWS"])
    assert labels_in_order(data) == [0, 1, 2, 1] * 10
    assert read(folder, ONE_HOT, task="multi-class").task == data.task
    assert read(folder, {"no": [1, 0] * 20, "yes": [0, 1] * 20}).task.name == "binary"
    several = read(folder, ONE_HOT, task="multi-label")
    assert (several.task.name, labels_in_order(several)[:2]) == ("multi-label", [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_lists_with_a_single_1_each_are_classes(kind, folder):
    lists = [[0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]] * 10
    cells = {"kind": [str(cell) for cell in lists] if kind == "csv" else lists}
    data = read(folder, cells, kind)
    assert (data.task.name, data.task.label_names) == ("multi-class", ["kind_0", "kind_1", "kind_2"])
    assert labels_in_order(data) == [1, 0, 2, 0] * 10
    assert read(folder, cells, kind, labels=["a", "b", "c"]).task.label_names == ["a", "b", "c"]
    assert read(folder, cells, kind, task="multi-label").task.name == "multi-label"


@pytest.mark.parametrize(
    ("split", "cure"), [("validation", "take --task multi-label.$"), ("test", "--no_test_labels")]
)
@pytest.mark.parametrize("row", ["1,1,0", "0,0,0"])
def test_a_row_of_two_classes_or_none_is_named(row, split, cure, folder):
    (folder / f"{split}.csv").write_text(f"id,text,EAP,HPL,MWS\nx,a,0,1,0\ny,b,{row}\n")
    with pytest.raises(UserError, match=rf"do not sum to 1 in 1 row \(.*[y1].*\) of {split}: .*{cure}"):
        read(folder, ONE_HOT)


@pytest.mark.parametrize("cells", [["2,7", "3,1", "4"], ["2,7", "3,1", "7,2", "1,3", "2,3"], ["-0,5", "1"]])
def test_a_comma_in_a_number_is_not_guessed(cells, folder):
    cells = (cells * 40)[:40]
    with pytest.raises(UserError, match=r"holds .*,\d and the like: give --decimal , .* or --label_delimiter , for"):
        read(folder, {"score": cells})
    data = read(folder, {"score": cells}, decimal=",")
    assert data.task.name == "regression"
    assert labels_in_order(data) == [[float(cell.replace(",", "."))] for cell in cells]
    assert read(folder, {"score": cells}, label_delimiter=",").task.name == "multi-label"
    assert set(read(folder, {"score": cells}, task=classes(cells)).task.label_names) == set(cells)


def classes(cells):
    return "binary" if len(set(cells)) == 2 else "multi-class"


def test_numbers_joined_by_commas_are_several_labels_where_a_cell_has_three(folder):
    data = read(folder, {"tags": ["1,2", "2", "1,2,3", "3", "1", "2,3"] * 7})
    assert (data.task.name, data.task.label_names) == ("multi-label", ["1", "2", "3"])


def test_a_regression_says_how_to_read_decimal_commas(folder):
    with pytest.raises(UserError, match=r"'2,7' in .* is no finite number: .*give --decimal ,"):
        read(folder, {"score": ["1", "2,7"] * 20}, task="regression")
    # A point that parts thousands is not one that may be dropped without a word.
    with pytest.raises(UserError, match=r"'1\.234,5' in 20 rows|'1\.234,5' in 1 row"):
        read(folder, {"score": ["1,5", "1.234,5"] * 20}, task="regression", decimal=",")


PLACEHOLDERS = {
    "a class": ({"label": ["a", "b"] * 20}, {"label": ["-1", "-1"]}, "labels that train never saw: -1"),
    "several labels": ({"tags": ["a|b", "a", "b", "b|a"] * 10}, {"tags": ["?", "?"]}, "never saw, '?'"),
    "a column for each": ({"x": [0, 1] * 20, "y": [1, 1] * 20}, {"x": [-1, -1], "y": [-1, -1]}, "neither 0 nor 1"),
    "some empty": ({"label": ["a", "b"] * 20}, {"label": ["", "a"]}, "is empty in 1 row"),
    "no number": ({"score": [0.5, 1.5] * 20}, {"score": ["?", "?"]}, "is no finite number"),
}


@pytest.mark.parametrize("case", PLACEHOLDERS)
def test_placeholders_in_test_can_be_left_out(case, folder):
    columns, test, sentence = PLACEHOLDERS[case]
    with pytest.raises(UserError, match=rf"{sentence.replace('?', '[?]')}.*--no_test_labels leaves them out"):
        read(folder, columns, test=test)
    test_rows = read(folder, columns, test=test, no_test_labels=True).splits["test"]
    assert test_rows.column_names == ["id", "text"]


def test_the_same_label_in_all_of_test_is_said(folder):
    for columns, test in (
        ({"label": [-1, 0, 1, 0] * 10}, {"label": [-1, -1]}),
        ({"score": [0.5, 1.5] * 20}, {"score": [-1, -1]}),
        ({"x": [0, 1] * 20, "y": [1, 1] * 20}, {"x": [0, 0], "y": [0, 0]}),
    ):
        note = "All 2 rows of test have the same label: where .* --no_test_labels leaves them out"
        assert any(re.match(note, said) for said in read(folder, columns, test=test).notes)
    told_apart = read(folder, {"score": [0.5, 1.5] * 20}, test={"score": [-1, 1]})
    assert not any("--no_test_labels" in said for said in told_apart.notes)


def test_300_labels_are_shortened_in_sentences(folder):
    names = [f"label-{i:03}" for i in range(300)]
    many = {"label": names * 2}
    (folder / "validation.csv").write_text("text,label\na,other\n")
    with pytest.raises(UserError, match=r"never saw: other; train has label-000, .* and 295 more") as caught:
        read(folder, many)
    assert len(str(caught.value)) < 300
    (folder / "validation.csv").unlink()
    with pytest.raises(UserError, match="and 280 more") as caught:
        read(folder, many, labels=["a", "b"])
    assert len(str(caught.value)) < 600
    columns = {name: [0, 1, 1, 0] for name in names}
    with pytest.raises(UserError, match="and 296 more came") as caught:
        read(folder, columns | {"other": [2, 3, 4, 5]}, task="multi-class")
    assert len(str(caught.value)) < 300


def test_columns_that_play_no_part_are_kept(folder):
    (folder / "train.csv").write_text(
        "text,label,keyword,length\n" + "".join(f"t{i},{i % 2},k{i},9\n" for i in range(20))
    )
    split = load_data(DataArguments(dataset=str(folder))).splits["train"]
    assert [f"k{i}" for i in split["id"]] == split["keyword"][:]
    # A name that tokenizing needs is not taken over.
    assert "length" not in split.column_names


BAD = {
    "no number": (
        {"score": [0.5, "much"] * 20},
        {"task": "regression"},
        r"'much' in 1 row \(number 1, .*\) of train is",
    ),
    "infinite": ({"score": [0.5, "inf"] * 20}, {"task": "regression"}, "'inf' in .* is no finite number"),
    "empty number": ({"score": [0.5, ""] * 20}, {"task": "regression"}, "'score' is empty in 20 rows"),
    "neither 0 nor 1": ({"a": [0, 1, 2, 0] * 10, "b": [1] * 40}, {"task": "multi-label"}, "'2' in 1 row .* neither 0"),
    "no list": ({"tags": ["[1, ", "[1]"] * 20}, {"task": "multi-label"}, r"label cell '\[1, ' in 1 row .* no list of"),
    "nested": ({"tags": ["[[1]]", "[1]"] * 20}, {"task": "multi-label"}, r"label cell '\[\[1\]\]' in 1 row"),
    "no label at all": ({"tags": ["[]", "[]"] * 20}, {}, "holds no label in any row"),
    "two columns for one class": ({"a": [0, 2] * 20, "b": [1, 0] * 20}, {"task": "binary"}, "has one label column"),
    "wrong count": ({"a": ["x", "y", "z", "x"] * 10}, {"task": "binary"}, "3 labels .*that is --task multi-class"),
    "two classes": ({"a": ["x", "y"] * 20}, {"task": "multi-class"}, "2 labels .*that is --task binary"),
    "delimiter for classes": ({"a": ["x", "y"] * 20}, {"task": "binary", "label_delimiter": "|"}, "--label_delimiter"),
    "order of numbers": ({"a": [0.5, 1.5] * 20}, {"labels": ["a"]}, "--labels orders the labels of one column"),
    "other labels": ({"a": ["x|y", "x", "y", "y|x"] * 10}, {"labels": ["x", "z"]}, "--labels names x, z, and train"),
}


@pytest.mark.parametrize("case", BAD)
def test_labels_that_do_not_fit_are_one_sentence(case, folder):
    columns, options, sentence = BAD[case]
    with pytest.raises(UserError, match=sentence) as caught:
        read(folder, columns, **options)
    assert "\n" not in str(caught.value)


def test_uneven_lists_of_numbers_are_one_sentence(folder):
    with pytest.raises(UserError, match=r"holds 1 numbers in 1 row \(number 1, .*\) of train and 2 elsewhere"):
        read(folder, {"vad": [[0.5, 1.5], [0.25]] * 20}, "jsonl")


def test_a_label_that_train_never_saw_is_named_with_its_row(folder):
    (folder / "validation.csv").write_text("text,tags\na,a\nb,a|z\n")
    with pytest.raises(UserError, match=r"a label that train never saw, 'z' in 1 row \(number 1"):
        read(folder, {"tags": ["a|b", "a", "b", "b|a"] * 10})


def test_a_validation_cut_keeps_the_shares_of_rare_labels(folder):
    tags = ["a|b"] * 60 + ["a"] * 100 + ["b"] * 20 + ["c|a"] * 20
    validation = read(folder, {"tags": tags}, validation_size=0.2).splits["validation"]
    assert np.sum(validation["labels"][:], axis=0)[1:].tolist() == [16, 4]
    scores = [i / 200 + 0.001 for i in range(200)]
    validation = read(folder, {"score": scores}, validation_size=0.2).splits["validation"]
    assert np.mean(validation["labels"][:]) == pytest.approx(0.5, abs=0.03)
