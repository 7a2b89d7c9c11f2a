"""Files in the shapes that people have: training, prediction and the sample submission read the same cells from them.

Each shape is a file with ids, texts and labels. What cannot be read ends in the same sentence for all three.
"""

import dataclasses
import gzip
import io
import json
import re
import zipfile
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.reading import read

from bert_recipes.data.cells import id_text
from bert_recipes.data.readers import open_table
from bert_recipes.data.text_files import TextFormat
from bert_recipes.errors import UserError
from bert_recipes.inference.rows import read_stream

IDS = ["007", "9007199254740993", "NA", "x y", "1e5", "-1", *(str(number) for number in range(10, 24))]
TEXTS = ["NA", 'a "good" day', "one, two; three", "null", "산불 피해", "café, naïve", "1.50", "C:\\temp\\new"]
TEXTS += [f"text number {number}" for number in range(8, 20)]
ROWS = [(i, text, "ab"[n % 2]) for n, (i, text) in enumerate(zip(IDS, TEXTS, strict=True))]
PLAIN = [(str(n), f"text number {n}", "ab"[n % 2]) for n in range(20)]
KOREAN = [(str(n), f"인천→핀란드 항공기 결항 {n}", "ab"[n % 2]) for n in range(20)]
FRENCH = [(str(n), f"Le café de l'hôtel était très bon, à côté {n}", "ab"[n % 2]) for n in range(20)]
BROKEN_LINES = [(i, f"{text}\nsecond line, of {i}\n\nlast", label) for i, text, label in PLAIN]
HEADER = ("id", "text", "label")


def quoted(rows, delimiter=",", header=HEADER, end="\n", mark='"'):
    """Write every cell within quotation marks."""
    lines = [delimiter.join(f'"{cell.replace(chr(34), mark + chr(34))}"' for cell in row) for row in [header, *rows]]
    return end.join([*lines, ""])


def bare(rows, delimiter=",", header=HEADER, end="\n"):
    """Write every cell as it is."""
    return end.join([*(delimiter.join(row) for row in [*([header] if header else []), *rows]), ""])


def packed(text, name="train.csv", *others):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for member in (name, *others):
            file.writestr(member, text)
    return archive.getvalue()


def objects(rows):
    return [dict(zip(HEADER, row, strict=True)) for row in rows]


def parquet(rows=PLAIN, **columns):
    table = {name: list(cells) for name, cells in zip(HEADER, zip(*rows, strict=True), strict=True)} | columns
    file = io.BytesIO()
    pq.write_table(pa.table(table), file)
    return file.getvalue()


def lines_of(rows):
    return "".join(json.dumps(row) + "\n" for row in objects(rows))


@dataclasses.dataclass
class Shape:
    """A file, how it has to be read, and its rows or the sentence that refuses it."""

    name: str
    content: str | bytes
    rows: list[tuple[str, str, str]] | None = None
    refused: str = ""
    flags: dict = dataclasses.field(default_factory=dict)
    columns: dict = dataclasses.field(default_factory=dict)


def swallowed(delimiter, end):
    """Write a row whose text opens with a quotation mark, and a later one whose text ends with one."""
    rows = [list(row) for row in PLAIN]
    rows[2][1], rows[6][1] = '"report quake', f"the last of it {end}"
    return bare(rows, delimiter)


NO_QUOTES = [
    (i, {2: '"report quake', 6: 'five inches 5"'}.get(n, text), label) for n, (i, text, label) in enumerate(PLAIN)
]
UNNAMED = ("", "id", "text", "label", "", "")
WIDER = [(str(n), *row, "", "") for n, row in enumerate(PLAIN)]
FLOATS = [(str(n), f"text number {n}", f"{n}.0") for n in range(20)]

SHAPES = {
    # quotation marks
    "every cell quoted": Shape("train.csv", quoted(ROWS), ROWS),
    "line breaks in quotes": Shape("train.csv", quoted(BROKEN_LINES), BROKEN_LINES),
    "carriage returns": Shape("train.csv", quoted(ROWS, end="\r\n"), ROWS),
    "old Macintosh lines": Shape("train.csv", bare(PLAIN, end="\r"), PLAIN),
    "no line end at the end": Shape("train.csv", bare(PLAIN).rstrip("\n"), PLAIN),
    "empty lines": Shape("train.csv", bare(PLAIN).replace("\n", "\n\n"), PLAIN),
    "marks within bare cells": Shape("train.tsv", bare(ROWS, "\t"), ROWS),
    "backslash before marks": Shape(
        "train.csv", quoted([r for r in ROWS if "\\" not in r[1]], mark="\\"), [r for r in ROWS if "\\" not in r[1]]
    ),
    "backslash, and paths": Shape(
        "train.csv", quoted([(i, t.replace("\\", "\\\\"), c) for i, t, c in ROWS], mark="\\"), ROWS
    ),
    "backslash when said": Shape(
        "train.csv",
        quoted([(i, t.replace("\\", "\\\\"), c) for i, t, c in ROWS], mark="\\"),
        ROWS,
        flags={"quoting": "backslash"},
    ),
    "stray mark in tsv": Shape("train.tsv", swallowed("\t", "5"), refused="--quoting none reads the whole file"),
    "stray mark and another in a cell": Shape(
        "train.tsv", swallowed("\t", 'a "b" c'), refused="begins in line 4 .*--quoting none"
    ),
    "stray mark and another at an end": Shape(
        "train.tsv",
        swallowed("\t", '5"'),
        refused="opens a cell in line 4 and the next one closes it in line 8.*--quoting none",
    ),
    "stray mark in csv": Shape("train.csv", swallowed(",", '5"'), refused="line 4 .* line 8.*--quoting none"),
    "stray mark, two columns": Shape(
        "train.csv", bare([r[1:] for r in NO_QUOTES], header=HEADER[1:]), refused="line 4 .* line 8"
    ),
    "stray marks when said": Shape("train.tsv", bare(NO_QUOTES, "\t"), NO_QUOTES, flags={"quoting": "none"}),
    "a mark that none closes": Shape(
        "train.csv", bare(PLAIN[:-1]) + '19,"text,b\n', refused="in line 21 is not closed"
    ),
    # widths
    "a delimiter too many in each row": Shape(
        "train.csv",
        bare([(*row, "") for row in PLAIN]),
        refused="line 2 has 4 cells, and the header has 3: remove the delimiter at its end",
    ),
    "a bare comma in one row": Shape(
        "train.csv",
        bare([*PLAIN[:5], ("5", "one, two", "a"), *PLAIN[6:]]),
        refused="line 7 has 4 cells, and the header has 3: put a cell",
    ),
    "a row too short": Shape(
        "train.csv", bare([*PLAIN[:5], ("5", "one"), *PLAIN[6:]]), refused="line 7 has 2 cells, and the header has 3"
    ),
    # headers
    "a first column without a name": Shape(
        "train.csv", bare([(str(n), *row) for n, row in enumerate(PLAIN)], header=UNNAMED[:4]), PLAIN
    ),
    "several columns without a name": Shape("train.csv", bare(WIDER, header=UNNAMED), PLAIN),
    "a header in quotes with spaces": Shape(
        "train.csv",
        bare([(f'"{i}"', f' "{t}, or so"', f' "{c}"') for i, t, c in PLAIN], header=('"id"', ' "text"', ' "label"')),
        [(i, f"{t}, or so", c) for i, t, c in PLAIN],
    ),
    "names with spaces around": Shape("train.csv", bare(PLAIN, header=("id ", " text", "label ")), PLAIN),
    "a byte order mark": Shape("train.csv", "\ufeff" + bare(PLAIN), PLAIN),
    "no header": Shape(
        "train.csv",
        bare(PLAIN, header=None),
        PLAIN,
        flags={"header": False},
        columns={"id_column": "0", "text_column": "1", "label_column": "2"},
    ),
    "two columns of a name": Shape(
        "train.csv", bare(PLAIN, header=("id", "text", "text")), refused="more than one column named 'text'"
    ),
    "nothing but a header": Shape("train.csv", bare([]), refused="has a header and no rows"),
    "an empty file": Shape("train.csv", "", refused="is empty"),
    # delimiters
    "semicolons, not said": Shape(
        "train.csv", bare(PLAIN, ";"), refused=r"no comma to part it, and 2 of semicolon: give --delimiter semicolon"
    ),
    "semicolons": Shape("train.csv", bare(PLAIN, ";"), PLAIN, flags={"delimiter": ";"}),
    "tabs in csv, not said": Shape("train.csv", bare(PLAIN, "\t"), refused="give --delimiter tab"),
    "tabs in csv": Shape("train.csv", bare(PLAIN, "\t"), PLAIN, flags={"delimiter": "tab"}),
    "commas in tsv, not said": Shape("train.tsv", bare(PLAIN), refused="no tab to part it, and 2 of comma"),
    "bars": Shape("train.txt", bare(PLAIN, "|"), PLAIN, flags={"delimiter": "|"}, columns={"text_column": "text"}),
    "text with tabs": Shape("train.txt", bare(PLAIN, "\t"), PLAIN, columns={"text_column": "text"}),
    # long cells
    "150,000 characters": Shape(
        "train.csv", bare([*PLAIN, ("20", "word " * 30_000, "a")]), [*PLAIN, ("20", "word " * 30_000, "a")]
    ),
    # compression and names
    "gzip": Shape("train.csv.gz", gzip.compress(quoted(ROWS).encode()), ROWS),
    "zip": Shape("train.csv.zip", packed(quoted(ROWS)), ROWS),
    "zip from a Macintosh": Shape("train.csv.zip", packed(quoted(ROWS), "train.csv", "__MACOSX/._train.csv"), ROWS),
    "zip of two files": Shape(
        "train.csv.zip",
        packed(quoted(ROWS), "train.csv", "b.csv"),
        refused="holds 2 files .train.csv, b.csv.: unpack it",
    ),
    "a damaged gzip": Shape("train.csv.gz", gzip.compress(quoted(ROWS).encode())[:-20], refused="cannot be unpacked"),
    "no gzip at all": Shape("train.csv.gz", quoted(ROWS), refused="cannot be unpacked: Not a gzipped file"),
    "no zip at all": Shape("train.csv.zip", quoted(ROWS), refused="cannot be unpacked: File is not a zip file"),
    "capital letters": Shape("TRAIN.CSV", bare(PLAIN), PLAIN),
    "a spreadsheet": Shape("train.xlsx", b"PK\x03\x04", refused="save it as CSV UTF-8"),
    # encodings
    "utf-16": Shape("train.csv", bare(KOREAN).encode("utf-16"), KOREAN),
    "utf-16 without a mark, not said": Shape(
        "train.csv", bare(PLAIN).encode("utf-16-le"), refused="give --encoding utf-16-le"
    ),
    "utf-16 without a mark": Shape(
        "train.csv", bare(PLAIN).encode("utf-16-le"), PLAIN, flags={"encoding": "utf-16-le"}
    ),
    "utf-8, said to be something else": Shape("train.csv", bare(KOREAN), KOREAN, flags={"encoding": "latin-1"}),
    "cp949, not said": Shape(
        "train.csv", bare(KOREAN).encode("cp949"), refused="is likely cp949: give --encoding cp949"
    ),
    "cp949": Shape("train.csv", bare(KOREAN).encode("cp949"), KOREAN, flags={"encoding": "cp949"}),
    "cp1252, not said": Shape("train.csv", quoted(FRENCH).encode("cp1252"), refused="is likely cp1252"),
    "letters that are as likely Czech": Shape(
        "train.csv",
        bare([(i, f"déjà vu à Noël {i}", c) for i, _, c in PLAIN]).encode("cp1252"),
        refused="is likely cp1252: give --encoding cp1252 if a word of it is “déjà” .it could also be cp1250, “déjŕ”",
    ),
    "letters that are signs elsewhere": Shape(
        "train.csv",
        bare([(i, f"źle działa, łatwo się psuje {i}", c) for i, _, c in PLAIN]).encode("cp1250"),
        refused="is likely cp1250: give --encoding cp1250 if a word of it is “źle” .it could also be cp1252, “Ÿle”",
    ),
    "Russian, not said": Shape(
        "train.csv",
        bare([(i, f"плохое качество {i}", c) for i, _, c in PLAIN]).encode("cp1251"),
        refused="is likely cp1251: give --encoding cp1251 if a word of it is “плохое” .it could also be cp1253, ",
    ),
    "cp1252": Shape("train.csv", quoted(FRENCH).encode("cp1252"), FRENCH, flags={"encoding": "cp1252"}),
    "shift-jis, not said": Shape(
        "train.tsv",
        bare([(i, f"この映画はとても面白かった{i}", c) for i, _, c in PLAIN], "\t").encode("shift_jis"),
        refused="is likely shift_jis",
    ),
    "a NUL byte": Shape("train.csv", bare(PLAIN).replace("number 7", "number\0 7"), refused="NUL byte at byte"),
    # JSON
    "json lines": Shape("train.jsonl", lines_of(ROWS), ROWS),
    "json array": Shape("train.json", json.dumps(objects(ROWS), indent=1), ROWS),
    "json lines in .json": Shape("train.json", lines_of(ROWS), ROWS),
    "an array in .jsonl": Shape("train.jsonl", json.dumps(objects(ROWS)), ROWS),
    "large numbers": Shape(
        "train.jsonl",
        "".join(f'{{"id": {2**64 + n}, "text": "t{n}", "label": {n % 2}}}\n' for n in range(20)),
        [(str(2**64 + n), f"t{n}", str(n % 2)) for n in range(20)],
    ),
    "large numbers and fractions": Shape(
        "train.jsonl",
        "".join(f'{{"id": {2**53 + n if n else 0.5}, "text": "t{n}", "label": "x{n % 2}"}}\n' for n in range(20)),
        [(str(2**53 + n) if n else "0.5", f"t{n}", f"x{n % 2}") for n in range(20)],
    ),
    "times": Shape(
        "train.jsonl",
        lines_of([(f"2024-01-02T00:{n:02}:00", *PLAIN[n][1:]) for n in range(20)]),
        [(f"2024-01-02T00:{n:02}:00", *PLAIN[n][1:]) for n in range(20)],
    ),
    "numbers and words for ids": Shape(
        "train.jsonl", lines_of([*PLAIN[:19], (19, "t", "b")]), refused="row 19, counted from 0, has 19 in 'id'"
    ),
    "half a character": Shape(
        "train.jsonl",
        lines_of([*PLAIN[:19], ("19", "\ud83d", "b")]),
        refused="row 19, counted from 0, has .* cannot be written",
    ),
    "one object": Shape("train.json", json.dumps({"id": ["1"]}, indent=1), refused="line 1 is not valid JSON"),
    # Parquet
    "parquet": Shape("train.parquet", parquet(ROWS), ROWS),
    "whole floats for ids": Shape("train.parquet", parquet(id=[float(n) for n in range(20)]), PLAIN),
    "large floats for ids": Shape(
        "train.parquet",
        parquet(id=[1.8e19 + 4096 * n for n in range(20)]),
        [(str(int(1.8e19) + 4096 * n), *PLAIN[n][1:]) for n in range(20)],
    ),
    "unsigned integers": Shape(
        "train.parquet",
        parquet(id=np.arange(20, dtype="uint64") + 2**63),
        [(str(2**63 + n), *PLAIN[n][1:]) for n in range(20)],
    ),
    "half a parquet": Shape("train.parquet", parquet(ROWS)[:-100], refused="cannot be read as parquet"),
}


def from_training(path, shape):
    flags = {name: value for name, value in shape.flags.items() if name != "header"}
    data = read(path, **flags, no_header=not shape.flags.get("header", True), **shape.columns)
    rows = {}
    for split in data.splits.values():
        names = [data.task.label_names[label] for label in split["labels"]]
        rows |= {i: (i, text, name) for i, text, name in zip(split["id"], split["text"], names, strict=True)}
    return rows


def from_prediction(path, shape):
    columns = {name: value for name, value in shape.columns.items() if name != "label_column"}
    return [(row.id, row.text) for row in read_stream(str(path), text_format=TextFormat(**shape.flags), **columns)]


def from_sample(path, shape):
    """Return the first column with the next, as the form of a submission is read."""
    table = open_table(path, TextFormat(**shape.flags))
    rows = [row for batch in table.batches() for row in batch.to_pylist()]
    identifier, text = shape.columns.get("id_column", "id"), shape.columns.get("text_column", "text")
    return [(id_text(row[identifier]), row[text]) for row in rows]


READINGS: list[Callable] = [from_training, from_prediction, from_sample]


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_read_alike_everywhere(name, tmp_path):
    shape = SHAPES[name]
    path = tmp_path / shape.name
    path.write_bytes(shape.content.encode() if isinstance(shape.content, str) else shape.content)
    if shape.refused:
        sentences = set()
        for reading in READINGS:
            with pytest.raises(UserError, match=shape.refused) as caught:
                reading(path, shape)
            sentences.add(str(caught.value))
        assert len(sentences) == 1
        assert "\n" not in sentences.pop()
        return
    assert from_prediction(path, shape) == from_sample(path, shape) == [row[:2] for row in shape.rows]
    trained = from_training(path, shape)
    assert [trained[i] for i, _, _ in shape.rows] == shape.rows
    assert len(trained) == len(shape.rows)


def test_there_are_sixty():
    assert len(SHAPES) >= 60


LEGITIMATE = {
    "verses": ["Hello, world\nbye, now", "one, two\nthree, four"],
    "lists": ["first:\n1, 2\n3, 4", "a, b\nc, d"],
    "a label alone on a line": ["good\nb", "bad, a\nb"],
}


@pytest.mark.parametrize("name", LEGITIMATE)
@pytest.mark.parametrize("columns", [HEADER, HEADER[1:]])
def test_line_breaks_that_are_meant_are_kept(name, columns, tmp_path):
    texts = [*LEGITIMATE[name], *(text for _, text, _ in PLAIN)]
    frame = pd.DataFrame({"id": [f"x{n}" for n in range(len(texts))], "text": texts, "label": ["a", "b"] * 11})
    frame[list(columns)].to_csv(tmp_path / "train.csv", index=False)
    assert [row.text for row in read_stream(str(tmp_path / "train.csv"))] == texts


def test_a_swallowed_row_is_told_by_ids_that_are_no_numbers(tmp_path):
    path = tmp_path / "new.tsv"
    rows = [(f"tweet_{n}", text) for n, (_, text, _) in enumerate(NO_QUOTES)]
    path.write_text(bare(rows, "\t", HEADER[:2]))
    with pytest.raises(UserError, match=r"line 4 .* line 8"):
        read_stream(str(path))


def test_a_note_says_that_marks_are_escaped(tmp_path):
    (tmp_path / "train.csv").write_text(SHAPES["backslash before marks"].content)
    notes = read(tmp_path).notes
    assert any(re.search(r'train.csv: quotation marks .* \\" there', note) for note in notes)
