"""What may be wrong with an input: small functions, each named after one kind of damage.

Those of bytes and text take `(draw, data)` and return other data; those of tables take and return a `pyarrow.Table`.
"""

import datetime
import decimal
import json
from collections.abc import Callable
from random import Random

import pyarrow as pa

Damage = Callable[[Random, bytes], bytes]

WORDS = ("fire", "flood", "storm", "smoke", "rescue", "lovely", "sunny", "party", "cake", "music")
# What a cell may hold that nobody expects there, as text.
CELLS = (
    *(
        "",
        " ",
        "\t",
        "NA",
        "nan",
        "None",
        "null",
        "True",
        "0",
        "-1",
        "1e999",
        "1_000",
        "0x10",
        "\u0663",
        "\uff11",
        "1,5",
    ),
    *("9" * 400, "[]", "[1, 0]", '["a", "b"]', "[" * 300, "[1, [2]]", "{}", "a|b", "a;b;a", "||", "=1+1"),
    *("\u0000", "\u001b[31m", "\u202e", "\ufeff", "\ufffd", "e\u0301", "🔥", "'", '"', "\\", "<script>"),
    *(
        "%s",
        "${HOME}",
        "[1e400]",
        "[None]",
        "[nan]",
        "(1, 2)",
        "[True, False]",
        "-0",
        "+1",
        "1.0",
        "01",
        "²",
        "Ⅷ",
        "x" * 2000,
    ),
)
# The same as values of JSON and YAML.
VALUES = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, 1e-320),
    *(float("nan"), float("inf"), float("-inf"), "", " ", "a", "nan", "1", [], [None], [1, 2], [0.5, "a"], [[1], [2]]),
    *({}, {"a": 1}, {"a": {"b": []}}, ["a", "b"], "\ud800", "\u0000", "\u001b[2J", "x" * 2000, [1, 0, 1]),
)


# Bytes of any file


def flip_bits(draw: Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(draw.choice((1, 1, 3, 20)) if out else 0):
        out[draw.randrange(len(out))] ^= 1 << draw.randrange(8)
    return bytes(out)


def truncate(draw: Random, data: bytes) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def cut_the_beginning(draw: Random, data: bytes) -> bytes:
    return data[draw.randrange(len(data) + 1) :]


def remove_a_piece(draw: Random, data: bytes) -> bytes:
    start = draw.randrange(len(data) + 1)
    return data[:start] + data[start + draw.randrange(1, 40) :]


def repeat_a_piece(draw: Random, data: bytes) -> bytes:
    start = draw.randrange(len(data) + 1)
    piece = data[start : start + draw.randrange(1, 60)]
    return data[:start] + piece * draw.choice((2, 3, 50)) + data[start:]


def insert_random_bytes(draw: Random, data: bytes) -> bytes:
    start = draw.randrange(len(data) + 1)
    return data[:start] + draw.randbytes(draw.choice((1, 4, 100))) + data[start:]


def zero_a_piece(draw: Random, data: bytes) -> bytes:
    start = draw.randrange(len(data) + 1)
    piece = data[start : start + draw.randrange(1, 40)]
    return data[:start] + bytes(len(piece)) + data[start + len(piece) :]


def empty(draw: Random, data: bytes) -> bytes:
    return draw.choice((b"", b"\n", b"\xef\xbb\xbf", b" ", b"\r\n\r\n", b"\0"))


ANY_FILE: tuple[Damage, ...] = (
    *(flip_bits, truncate, cut_the_beginning, remove_a_piece, repeat_a_piece, insert_random_bytes, zero_a_piece),
    empty,
)


# Lines and characters of a text file


def _lines(data: bytes) -> list[bytes]:
    return data.splitlines(keepends=True)


def duplicate_a_line(draw: Random, data: bytes) -> bytes:
    lines = _lines(data)
    if lines:
        lines.insert(draw.randrange(len(lines) + 1), draw.choice(lines))
    return b"".join(lines)


def remove_a_line(draw: Random, data: bytes) -> bytes:
    lines = _lines(data)
    if lines:
        del lines[draw.choice((0, -1, draw.randrange(len(lines))))]
    return b"".join(lines)


def swap_lines(draw: Random, data: bytes) -> bytes:
    lines = _lines(data)
    draw.shuffle(lines)
    return b"".join(lines)


def keep_few_lines(draw: Random, data: bytes) -> bytes:
    return b"".join(_lines(data)[: draw.randrange(5)])


def add_blank_lines(draw: Random, data: bytes) -> bytes:
    lines = _lines(data)
    for _ in range(draw.randrange(1, 4)):
        lines.insert(draw.randrange(len(lines) + 1), draw.choice((b"\n", b"\r\n", b"  \n", b"\t\n", b"\r", b",\n")))
    return b"".join(lines)


def other_line_ends(draw: Random, data: bytes) -> bytes:
    return data.replace(b"\n", draw.choice((b"\r\n", b"\r", b"\n\r", b"\x0b", "\u2028".encode(), b"\x85")))


def no_last_line_end(draw: Random, data: bytes) -> bytes:
    return data.rstrip(b"\r\n")


def stray_quote(draw: Random, data: bytes) -> bytes:
    start = draw.randrange(len(data) + 1)
    return data[:start] + draw.choice((b'"', b"'", b'""', b'"\n', b'\\"', b',"', b'",')) + data[start:]


def stray_delimiter(draw: Random, data: bytes) -> bytes:
    start = draw.randrange(len(data) + 1)
    return data[:start] + draw.choice((b",", b"\t", b";", b",,,", b":", b"}", b"[", b"\n")) + data[start:]


def control_character(draw: Random, data: bytes) -> bytes:
    start = draw.randrange(len(data) + 1)
    return data[:start] + draw.choice((b"\0", b"\x1b[31m", b"\x1a", b"\x7f", b"\x08", b"\x0c")) + data[start:]


def bad_encoding(draw: Random, data: bytes) -> bytes:
    start = draw.randrange(len(data) + 1)
    bad = draw.choice((b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf5\x80", b"\xe9", b"\xc0\x80"))
    return data[:start] + bad + data[start:]


def other_encoding(draw: Random, data: bytes) -> bytes:
    encoding = draw.choice(("utf-16", "utf-32", "latin-1", "utf-8-sig", "utf-16-le", "utf-7", "cp1252", "cp037"))
    return data.decode("utf-8", "replace").encode(encoding, "replace")


def byte_order_mark(draw: Random, data: bytes) -> bytes:
    return draw.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf" * 2)) + data


def other_delimiter(draw: Random, data: bytes) -> bytes:
    was = b"\t" if b"\t" in data else b","
    return data.replace(was, draw.choice((b";", b"\t", b",", b"|", b" ")))


TEXT_FILE: tuple[Damage, ...] = (
    *(duplicate_a_line, remove_a_line, swap_lines, keep_few_lines, add_blank_lines, other_line_ends, no_last_line_end),
    *(stray_quote, stray_delimiter, control_character, bad_encoding, other_encoding, byte_order_mark, other_delimiter),
)


# Cells of a delimited file. Quotes are left as they stand: only the cells between the delimiters are looked at.


def _change_cells(draw: Random, data: bytes, change: Callable[[list[bytes]], None], header: bool = False) -> bytes:
    lines = _lines(data)
    delimiter = b"\t" if b"\t" in data else b","
    if lines:
        number = 0 if header else draw.randrange(len(lines))
        cells = lines[number].rstrip(b"\r\n").split(delimiter)
        change(cells)
        lines[number] = delimiter.join(cells) + b"\n"
    return b"".join(lines)


def replace_a_cell(draw: Random, data: bytes) -> bytes:
    def change(cells):
        cells[draw.randrange(len(cells))] = draw.choice(CELLS).encode()

    return _change_cells(draw, data, change)


def replace_a_column(draw: Random, data: bytes) -> bytes:
    """Put another value into every row of a column, or a few values by turns."""
    lines, values = _lines(data), draw.choices(CELLS, k=draw.choice((1, 2, 3)))
    delimiter = b"\t" if b"\t" in data else b","
    if not lines:
        return data
    column = draw.randrange(lines[0].count(delimiter) + 1)
    for number in range(1, len(lines)):
        cells = lines[number].rstrip(b"\r\n").split(delimiter)
        if column < len(cells):
            cells[column] = values[number % len(values)].encode()
        lines[number] = delimiter.join(cells) + b"\n"
    return b"".join(lines)


def wrong_count_of_cells(draw: Random, data: bytes) -> bytes:
    def change(cells):
        if draw.random() < 0.5:
            cells.extend([b"more"] * draw.choice((1, 2, 500)))
        else:
            del cells[draw.randrange(len(cells)) :]

    return _change_cells(draw, data, change)


def rename_a_column(draw: Random, data: bytes) -> bytes:
    names = ("", "text", "label", "id", "ID", "row", "input_ids", "fold", "labels", "text_pair", "a b", "\u200b")

    def change(cells):
        cells[draw.randrange(len(cells))] = draw.choice(names).encode()

    return _change_cells(draw, data, change, header=True)


def a_column_twice(draw: Random, data: bytes) -> bytes:
    return _change_cells(draw, data, lambda cells: cells.append(draw.choice(cells)), header=True)


def long_cell(draw: Random, data: bytes) -> bytes:
    size = draw.choice((140_000, 1_100_000))  # past csv's own limit of a field, past a block of a reader

    def change(cells):
        cells[draw.randrange(len(cells))] = draw.choice((b"x", b"a ", b'"', "ä".encode())) * size

    return _change_cells(draw, data, change)


def many_rows(draw: Random, data: bytes) -> bytes:
    header, *rows = _lines(data) or [b""]
    most = 1 + 2_000_000 // (len(data) + 1)  # what is long already is not made longer still
    return header + b"".join(rows) * min(most, draw.choice((20, 100)))


DELIMITED: tuple[Damage, ...] = (
    *(replace_a_cell, replace_a_column, wrong_count_of_cells, rename_a_column, a_column_twice, long_cell, many_rows),
)


# Lines of JSON


def _change_rows(draw: Random, data: bytes, change: Callable[[list], None]) -> bytes:
    try:
        rows = [json.loads(line) for line in data.splitlines() if line.strip()]
    except (ValueError, RecursionError):
        return data  # damaged already
    change(rows)
    return "".join(json.dumps(row) + "\n" for row in rows).encode("utf-8")


def _some_row(draw: Random, rows: list) -> dict:
    return draw.choice([row for row in rows if isinstance(row, dict)] or [{}])


def replace_a_value(draw: Random, data: bytes) -> bytes:
    def change(rows):
        row = _some_row(draw, rows)
        row[draw.choice([*row, "text", "label"])] = draw.choice(VALUES)

    return _change_rows(draw, data, change)


def replace_every_value(draw: Random, data: bytes) -> bytes:
    values = draw.choices(VALUES, k=draw.choice((1, 2, 3)))

    def change(rows):
        name = draw.choice([*_some_row(draw, rows), "text", "label"])
        for number, row in enumerate(rows):
            if isinstance(row, dict):
                row[name] = values[number % len(values)]

    return _change_rows(draw, data, change)


def drop_a_key(draw: Random, data: bytes) -> bytes:
    def change(rows):
        row = _some_row(draw, rows)
        row.pop(draw.choice([*row, ""]), None)

    return _change_rows(draw, data, change)


def drop_a_key_everywhere(draw: Random, data: bytes) -> bytes:
    def change(rows):
        name = draw.choice([*_some_row(draw, rows), ""])
        for row in rows:
            if isinstance(row, dict):
                row.pop(name, None)

    return _change_rows(draw, data, change)


def add_a_key(draw: Random, data: bytes) -> bytes:
    names = ("more", "", "row", "input_ids", "labels", "text_pair", "ID", "a.b", "\ud800", "\u0000", "x" * 300)

    def change(rows):
        for row in draw.choice((rows, [_some_row(draw, rows)])):
            if isinstance(row, dict):
                row[names[draw.randrange(len(names))]] = draw.choice(VALUES)

    return _change_rows(draw, data, change)


def a_row_that_is_no_object(draw: Random, data: bytes) -> bytes:
    return _change_rows(draw, data, lambda rows: rows.insert(draw.randrange(len(rows) + 1), draw.choice(VALUES)))


def one_array(draw: Random, data: bytes) -> bytes:
    return b"[" + b",".join(data.splitlines()) + b"]"


def deep_nesting(draw: Random, data: bytes) -> bytes:
    depth = draw.choice((100, 3000, 100_000))
    nested = b'{"text": ' + b"[" * depth + b"]" * depth + b', "label": 1, "id": 99}\n'
    return draw.choice((nested, data + nested))


def a_key_twice(draw: Random, data: bytes) -> bytes:
    return data.replace(b'{"', b'{"text": "twice", "', draw.choice((1, -1)))


def words_of_no_json(draw: Random, data: bytes) -> bytes:
    word = draw.choice((b"NaN", b"-Infinity", b"undefined", b"1e999", b"01", b"'a'", b'"\\ud83d"', b"1" * 5000))
    lines = _lines(data)
    if lines:
        number = draw.randrange(len(lines))
        lines[number] = lines[number].replace(b": ", b": " + word + b', "x": ', 1)
    return b"".join(lines)


JSON_LINES: tuple[Damage, ...] = (
    *(replace_a_value, replace_every_value, drop_a_key, drop_a_key_everywhere, add_a_key, a_row_that_is_no_object),
    *(one_array, deep_nesting, a_key_twice, words_of_no_json),
)


# Columns of a Parquet file

INSTANT = datetime.datetime(2024, 2, 29, 12, 30)


def _columns_of_any_type(rows: int) -> tuple[pa.Array, ...]:
    """Return columns of every type that Parquet keeps, each a few values by turns."""

    def turns(values, kind=None):
        return pa.array([values[i % len(values)] for i in range(rows)], kind)

    texts = turns(["a", "b", None])
    return (
        turns([0, 1]),
        turns([1, 2**62, None]),
        turns([2**64 - 1, 0], pa.uint64()),
        turns([float("nan"), 1.0]),
        turns([float("inf"), -0.0, None]),
        turns([0.5, 1.5], pa.float16()),
        turns([True, False, None]),
        turns([INSTANT, None]),
        turns([INSTANT.date()]),
        turns([INSTANT.time()]),
        turns([datetime.timedelta(days=2)]),
        turns([INSTANT.replace(tzinfo=datetime.UTC)], pa.timestamp("ns", tz="Asia/Seoul")),
        turns([decimal.Decimal("1.50"), decimal.Decimal("-3.25")]),
        turns([b"\xff\xfe", b"a"]),
        turns([b"ab", b"cd"], pa.binary(2)),
        turns([["a"], ["a", "b"], []]),
        turns([[1, 0], [0, 1]]),
        turns([[1, 0], [0, 1]], pa.list_(pa.int64(), 2)),
        turns([[0.5, float("nan")], [1.5]]),
        turns([[None, 1], None]),
        turns([[["a"]], [[]]]),
        turns([{"a": 1, "b": "x"}, None]),
        turns([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
        texts,
        texts.dictionary_encode(),
        turns([1, 2]).dictionary_encode(),
        turns(["a", ""], pa.large_string()),
        turns(["a", "b"], pa.string_view()),
        pa.nulls(rows),
        turns(["a\u0000b", "\u001b[31m"]),
        turns([""]),
    )


def other_type(draw: Random, table: pa.Table) -> pa.Table:
    if not table.num_columns:
        return table
    place = draw.randrange(table.num_columns)
    return table.set_column(place, table.column_names[place], draw.choice(_columns_of_any_type(len(table))))


def some_nulls(draw: Random, table: pa.Table) -> pa.Table:
    if not table.num_columns:
        return table
    place = draw.randrange(table.num_columns)
    places = pa.array([None if draw.random() < 0.3 else number for number in range(len(table))], pa.int64())
    try:
        return table.set_column(place, table.column_names[place], table.column(place).take(places))
    except pa.ArrowNotImplementedError:  # of a type that cannot be taken from
        return table


def lone_surrogates(draw: Random, table: pa.Table) -> pa.Table:
    """Put bytes that are no UTF-8 into a column that says it is."""
    if not table.num_columns:
        return table
    bad = draw.choice((b"\xed\xa0\x80", b"\xff", b"a\xc3"))
    raw = pa.array([bad if draw.random() < 0.5 else b"good" for _ in range(len(table))], pa.binary())
    place = draw.randrange(table.num_columns)
    cells = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    return table.set_column(place, table.column_names[place], cells)


def drop_a_column(draw: Random, table: pa.Table) -> pa.Table:
    return table.remove_column(draw.randrange(table.num_columns)) if table.num_columns else table


def rename_columns(draw: Random, table: pa.Table) -> pa.Table:
    names = ("text", "label", "id", "ID", "Text", "row", "input_ids", "labels", "", "a.b", "\u0000", "length", "fold")
    return table.rename_columns([draw.choice((name, draw.choice(names))) for name in table.column_names])


def few_rows(draw: Random, table: pa.Table) -> pa.Table:
    return table.slice(0, draw.randrange(4))


def rows_in_chunks(draw: Random, table: pa.Table) -> pa.Table:
    return pa.concat_tables([table.slice(0, 3), table.slice(3, 0), table.slice(3)])


def one_label(draw: Random, table: pa.Table) -> pa.Table:
    if "label" not in table.column_names:
        return table
    place = table.column_names.index("label")
    return table.set_column(place, "label", pa.array([draw.choice(("a", "", "0"))] * len(table)))


def odd_metadata(draw: Random, table: pa.Table) -> pa.Table:
    """Give the schema metadata of pandas or of `datasets` that does not fit it."""
    metadata = draw.choice(
        (
            {b"pandas": b"{}"},
            {b"pandas": b"no json"},
            {b"huggingface": b"no json"},
            {b"huggingface": b'{"info": {"features": {"text": {"dtype": "int64", "_type": "Value"}}}}'},
            {b"huggingface": b'{"info": {"features": {"text": {"_type": "Image"}}}}'},
            {b"huggingface": b'{"info": {"features": {"text": {"_type": "nothing of the kind"}}}}'},
            {b"huggingface": b"[]"},
            {b"ARROW:schema": b"bogus"},
        )
    )
    return table.replace_schema_metadata(metadata)


TABLES: tuple[Callable[[Random, pa.Table], pa.Table], ...] = (
    *(other_type, other_type, some_nulls, lone_surrogates, drop_a_column, rename_columns, few_rows, rows_in_chunks),
    *(one_label, odd_metadata),
)


# Lines of YAML


def tab_for_spaces(draw: Random, data: bytes) -> bytes:
    return data.replace(b": ", b":\t", 1)


def anchor(draw: Random, data: bytes) -> bytes:
    return data + draw.choice(
        (
            b"seed: &a 3\ndata_seed: *a\n",
            b"seed: *nowhere\n",
            b"labels: &a [*a]\n",
            b"<<: {seed: 3}\n",
            b"<<: 3\n",
            b"<<: [1, 2]\n",
            b"a: &a [x, x, x]\nb: &b [*a, *a, *a]\nlabels: [*b, *b, *b]\n",
            b"loss_options: &a {b: *a}\n",
        )
    )


def key_that_is_no_string(draw: Random, data: bytes) -> bytes:
    keys = (b"1", b"null", b"true", b"[1, 2]", b"{a: 1}", b"1.5", b"2024-01-01", b"~", b"? [a]\n", b"!!binary aGk=")
    return data + draw.choice(keys) + b": 3\n"


def a_tag(draw: Random, data: bytes) -> bytes:
    tags = (
        *(b"!!python/object/apply:os.getcwd []", b"!!python/name:os.system", b"!!set {a, b}", b"!!binary aGk="),
        *(b"!mine 3", b"!!int abc", b"!!float x", b"!!timestamp 2024-99-99", b"2024-02-30", b"2024-01-01"),
        b"!!omap [a: 1]",
    )
    return data + b"run_name: " + draw.choice(tags) + b"\n"


def several_documents(draw: Random, data: bytes) -> bytes:
    others = (b"---\n...\n", b"- a\n- b\n", b"a\n", b"3\n", b"null\n", b"--- |\n text\n")
    return draw.choice((data + b"---\n" + data, *others))


def a_line_twice(draw: Random, data: bytes) -> bytes:
    lines = _lines(data)
    return data + (draw.choice(lines) if lines else b"")


def deep_flow(draw: Random, data: bytes) -> bytes:
    return data + b"labels: " + b"[" * draw.choice((20, 3000)) + b"\n"


YAML: tuple[Damage, ...] = (
    *(tab_for_spaces, anchor, key_that_is_no_string, a_tag, several_documents, a_line_twice, deep_flow),
)


def misspelt(draw: Random, word: str) -> str:
    """Return a key with a letter too many, too few, another or in capitals."""
    place = draw.randrange(len(word) + 1)
    return draw.choice(
        (
            word[:place] + draw.choice("xyz_-. ") + word[place:],
            word[:place] + word[place + 1 :],
            word.replace("_", "-"),
            word.upper(),
            word[::-1],
            word + "s",
        )
    )


def several(draw: Random, damages: tuple[Damage, ...], data: bytes) -> tuple[bytes, list[str]]:
    """Apply one to three of `damages`; return also their names."""
    chosen = draw.choices(damages, k=draw.choice((1, 1, 1, 2, 3)))
    for damage in chosen:
        data = damage(draw, data)
    return data, [damage.__name__ for damage in chosen]
