"""The sample submission says which column holds the ids, and which the labels."""

import pytest
from support.reading import read
from support.rows import write_csv

from bert_recipes.errors import UserError


@pytest.fixture
def competition(folder):
    """A function that writes train, test and the sample: rows of a header and twenty rows of cells each."""

    def write(train, test, sample):
        for name, (header, row) in {"train": train, "test": test, "sample_submission": sample}.items():
            rows = [header.split(","), *(row(i) for i in range(20))]
            write_csv(folder / f"{name}.csv", rows)
        return folder

    return write


def test_the_first_header_names_the_id_column(competition):
    # The ids are numbers in another order: row numbers would fit them too.
    folder = competition(
        ("Nr,title,topic_idx", lambda i: [i, f"text {i}", i % 2]),
        ("Nr,title", lambda i: [19 - i, f"text {i}"]),
        ("nr,topic_idx", lambda i: [i, 0]),
    )
    data = read(folder)
    assert (data.columns.id, data.columns.label, data.columns.text) == ("Nr", ["topic_idx"], ["title"])
    assert data.splits["test"]["id"][:] == [str(19 - i) for i in range(20)]
    assert data.sample.ids == [str(i) for i in range(20)]
    assert "The labels are what sample_submission.csv asks for: topic_idx." in data.notes


def test_train_may_lack_the_id_column(competition):
    folder = competition(
        ("text,label", lambda i: [f"text {i}", i % 2]),
        ("code,text", lambda i: [f"t{i}", f"text {i}"]),
        ("code,label", lambda i: [f"t{i}", 0]),
    )
    data = read(folder)
    assert data.columns.id == "code"
    assert data.splits["test"]["id"][:] == [f"t{i}" for i in range(20)]
    ids = data.splits["train"]["id"][:] + data.splits["validation"]["id"][:]
    assert sorted(map(int, ids)) == list(range(20))
    assert "There is no column 'code' in train: its rows' numbers, from 0, are their ids." in data.notes
    # So does --id_column, which run.yaml holds for the next run.
    (folder / "sample_submission.csv").unlink()
    assert read(folder, id_column="code").splits["test"]["id"][0] == "t0"


def test_a_flag_wins_over_the_sample(competition):
    folder = competition(
        ("id,code,text,label,mood", lambda i: [i, f"c{i}", f"text {i}", i % 2, i % 3]),
        ("id,code,text", lambda i: [i, f"c{i}", f"text {i}"]),
        ("id,mood", lambda i: [f"c{i}", 0]),
    )
    data = read(folder, id_column="code", label_column=["label"])
    assert (data.columns.id, data.columns.label) == ("code", ["label"])
    with pytest.raises(UserError, match=r"asks for the ids in the column 'code' of test, and 'id' was taken"):
        read(folder)


def test_several_columns_of_labels_are_found(competition):
    six = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
    folder = competition(
        ("id,comment_text," + ",".join(six), lambda i: [i, f"text {i}", *(i // 2**c % 2 for c in range(6))]),
        ("id,comment_text", lambda i: [i, f"text {i}"]),
        ("id," + ",".join(reversed(six)), lambda i: [i, *[0.5] * 6]),
    )
    data = read(folder)
    assert (data.task.name, data.task.label_names) == ("multi-label", six[::-1])


@pytest.mark.parametrize("test_label", ["label", "LABEL"])
def test_columns_that_test_has_too_are_no_labels(test_label, competition):
    folder = competition(
        ("id,text,label,target", lambda i: [i, f"text {i}", i % 2, i % 3]),
        (f"id,text,{test_label}", lambda i: [i, f"text {i}", i % 2]),
        ("id,label", lambda i: [i, 0]),
    )
    with pytest.raises(UserError, match="the label column could be any of label, target"):
        read(folder)


@pytest.mark.parametrize("id_in_train", [True, False])
def test_ids_in_a_column_that_was_not_recognised_name_the_flag(id_in_train, competition):
    train = ("code,text,label", lambda i: [f"c{i}", f"text {i}", i % 2])
    folder = competition(
        train if id_in_train else ("text,label", lambda i: [f"text {i}", i % 2]),
        ("text,code", lambda i: [f"text {i}", i]),
        ("Key,label", lambda i: [i, 0]),
    )
    # Row numbers would fit: a submission against them could be silently wrong.
    with pytest.raises(
        UserError, match=r"column 'code' of test, and there is no id column.*: give --id_column code\."
    ):
        read(folder)
    if id_in_train:
        assert read(folder, id_column="code").columns.id == "code"


def test_row_numbers_are_right_where_no_column_holds_the_ids(competition):
    folder = competition(
        ("text,label", lambda i: [f"text {i}", i % 2]),
        ("text,likes", lambda i: [f"text {i}", i // 2]),
        ("Key,label", lambda i: [19 - i, 0]),
    )
    assert read(folder).columns.id is None
    # Some of the ids are numbers that a column holds too, and more than once: it tells no rows apart.
    write_csv(folder / "sample_submission.csv", [["Key", "label"], [0, 0], [1, 0]])
    assert read(folder).columns.id is None


BAD = {
    "empty": ("", "sample submission cannot be used, correct or remove it: .* is empty"),
    "a header alone": ("id,label\n", "cannot be used, .* has a header and no rows"),
    "semicolons": (
        "id;label\n0;1\n",
        "sample_submission.csv: the first row has no comma to part it, and 1 of semicolon",
    ),
    "one column": ("id\n0\n", "no column beside the id: correct or remove it"),
    "ids twice": ("id,label\n0,1\n1,1\n0,1\n", "asks for 1 ids more than once, 0: correct or remove it"),
    "strange ids": ("id,label\n0,1\n77,1\n", r"ids that test does not have, such as 77 \(in 'id'\)"),
    "not UTF-8": ("id,label\n0,\udcff\n", "cannot be used, .* is not utf-8"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_sample_that_does_not_fit_is_one_sentence(case, competition):
    folder = competition(
        ("id,text,label", lambda i: [i, f"text {i}", i % 2]),
        ("id,text", lambda i: [i, f"text {i}"]),
        ("id,label", lambda i: [i, 0]),
    )
    content, sentence = BAD[case]
    (folder / "sample_submission.csv").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=sentence) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    (folder / "test.csv").unlink()
    assert read(folder).sample is None
