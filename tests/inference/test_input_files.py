"""Files, folders and patterns as one input, whole and in pieces."""

import shutil

import pandas as pd
import pytest
from datasets import Dataset
from support.rows import sentence, write_csv

from bert_recipes.errors import UserError
from bert_recipes.inference.input_files import check_output, find_files, parted
from bert_recipes.inference.rows import InputRows, read_stream


@pytest.fixture
def folder(tmp_path):
    for name in ("b.csv", "a.tsv", "c.csv.gz", "deep/a.csv", "_SUCCESS", "_old.csv", ".hidden.csv", "notes.md"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    return tmp_path / "in"


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("b.csv", ["b.csv"]),
        ("b.csv deep", ["b.csv", "deep"]),
        ("my file.csv", ["my file.csv"]),
        ("my f*.csv", ["my f*.csv"]),
        ("'my file.csv'  *.tsv", ["my file.csv", "*.tsv"]),
        ("b.csv -", ["b.csv", "-"]),
        ("~/b.csv ~/a.tsv", ["~/b.csv", "~/a.tsv"]),
        ("b.csv gone.csv", ["b.csv", "gone.csv"]),
        ("b.csv " * 2000, ["b.csv"] * 2000),  # longer than the name of a file can be
        ("~nobody-of-that-name.csv", ["~nobody-of-that-name.csv"]),
        # What is not there is named as it was given.
        ("it's.csv", ["it's.csv"]),
        ("gone file.csv", ["gone file.csv"]),
        ("", [""]),
    ],
)
def test_a_word_that_names_no_file_is_several_names(word, names, folder, monkeypatch):
    (folder / "my file.csv").touch()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(folder))
    assert parted([word, "b.csv"]) == [*names, "b.csv"]


def test_what_stands_for_which_files(folder, monkeypatch):
    def found(*names):
        return [str(path.relative_to(folder)) for path in find_files([str(folder / name) for name in names])]

    assert found("") == ["a.tsv", "b.csv", "c.csv.gz"]
    assert found("*.csv") == ["b.csv"]
    assert found("**/*.csv") == ["b.csv", "deep/a.csv"]
    (folder / "out.csv.parts").mkdir()
    (folder / "out.csv.parts/part-00000-of-00002.csv").touch()
    assert found("**/*.csv") == ["b.csv", "deep/a.csv"]
    assert found("c.csv.gz", "deep", "b.csv") == ["c.csv.gz", "deep/a.csv", "b.csv"]
    assert found(".hidden.csv") == [".hidden.csv"]
    (folder / "x[1].csv").touch()
    assert found("x[1].csv") == ["x[1].csv"]
    monkeypatch.setenv("HOME", str(folder))
    assert [path.name for path in find_files(["~/*.tsv"])] == ["a.tsv"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none.csv", r"none.csv: there is no such file"),
        ("*.parquet", r"no file is of that pattern"),
        ("empty", r"is a folder without files of rows \(.csv, .*give a pattern, as in '.*empty/\*\*/\*.csv'"),
    ],
)
def test_where_nothing_is_found_is_a_sentence(name, said, folder):
    (folder / "empty/below").mkdir(parents=True)
    with pytest.raises(UserError, match=said):
        find_files([str(folder / name)])


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("", "out.csv"),
        ("*.csv", "out.csv"),
        ("**/*.csv", "out.csv"),
        ("**/*.csv", "deep/a.csv"),
        ("d*/*.csv", "deep/out.csv"),
        ("b.csv", "b.csv"),
        ("", "b.csv"),
        ("*.csv", "link.csv"),
    ],
)
def test_an_output_among_the_inputs_is_refused(source, output, folder):
    (folder / "link.csv").symlink_to(folder / "b.csv")
    with pytest.raises(UserError, match=r"--output .* (would be one of|is the file that).* reads: name another"):
        check_output(str(folder / output), [str(folder / source)])


def test_an_output_elsewhere_is_let_pass(folder):
    for source, output in (
        ("", "deep/out.csv"),
        ("*.csv", "out.tsv"),
        ("d*/*.csv", "out.csv"),
        ("deep/**/*.csv", "out.csv"),
        ("", "none/out.csv"),
        ("", "out"),
        ("b.csv", "-"),
    ):
        check_output(output if output == "-" else str(folder / output), [str(folder / source)])


def write(kind, path, first, last):
    frame = pd.DataFrame({"id": range(first, last), "text": [f"{sentence(i)} {i}" for i in range(first, last)]})
    if kind == "parquet":
        frame.to_parquet(path, row_group_size=5)
    elif kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif kind == "txt":
        path.write_text("".join(f"{text}\n" for text in frame["text"]))
    elif kind == "saved":
        Dataset.from_pandas(frame).save_to_disk(str(path))
    else:
        frame.to_csv(path, index=False)


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "jsonl", "parquet", "txt", "saved"])
def test_any_piece_of_several_files_is_that_of_the_whole(kind, tmp_path):
    names = []
    for number, (first, last) in enumerate([(0, 3), (3, 4), (4, 20), (20, 45)]):
        names.append(str(tmp_path / f"{number}.{kind}"))
        write(kind, tmp_path / f"{number}.{kind}", first, last)
    whole = list(read_stream(names))
    assert [row.id for row in whole] == [str(i) for i in range(45)]
    assert [row.text for row in whole] == [f"{sentence(i)} {i}" for i in range(45)]
    rows = InputRows(names)
    counts = rows.counts()
    assert counts == [3, 1, 16, 25]
    # Forwards, on from where it was, and back.
    for start, stop in ((0, 8), (8, 16), (30, 33), (33, 34), (2, 5), (2, 5), (19, 45), (44, 60), (45, 50)):
        assert list(rows.between(counts, start, stop)) == whole[start:stop]


def test_row_groups_before_the_rows_asked_for_are_not_read(tmp_path, monkeypatch):
    write("parquet", tmp_path / "new.parquet", 0, 45)
    names = [str(tmp_path / "new.parquet")]
    counts, rows = InputRows(names).counts(), InputRows(names)
    whole, opened = InputRows._checked_file, []

    def checked(self, path):
        file = whole(self, path)
        return type(file)(
            file.columns, lambda start, first: opened.append(start) or file.read(start, first), file.count, file.starts
        )

    monkeypatch.setattr(InputRows, "_checked_file", checked)
    found = [row.id for start in (8, 12, 40) for row in rows.between(counts, start, start + 4)]
    assert found == [str(i) for start in (8, 12, 40) for i in range(start, start + 4)]
    assert opened == [5, 40]


def test_files_of_other_columns_are_refused(tmp_path):
    for name, columns in (("a.csv", ["id", "text"]), ("b.csv", ["id", "text", "more"])):
        write_csv(tmp_path / name, [columns, ["1", "fire", "x"][: len(columns)]])
    said = r"b.csv has other columns \(id, text, more\) than .*a.csv \(id, text\)"
    for start in (lambda: read_stream(str(tmp_path)), lambda: InputRows([str(tmp_path)]).counts()):
        with pytest.raises(UserError, match=said):
            start()
    (tmp_path / "b.csv").unlink()
    shutil.copy(tmp_path / "a.csv", tmp_path / "z.csv")
    (tmp_path / "y.txt").write_text("a line\n")
    with pytest.raises(UserError, match=r"y.txt has other columns \(none\)"):
        read_stream(str(tmp_path))


def test_a_file_that_has_fewer_rows_than_were_counted_is_a_sentence(tmp_path):
    write("csv", tmp_path / "new.csv", 0, 45)
    rows = InputRows([str(tmp_path / "new.csv")])
    for start in (40, 50):
        with pytest.raises(UserError, match=r"new.csv has changed since it was counted"):
            list(rows.between([60], start, start + 8))
