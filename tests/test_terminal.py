"""What is said at the terminal is text, whatever is in the data and whatever the terminal can show."""

import io
import os
import pty
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text
from support.trained_tokenizers import like_bertweet

from bert_recipes.terminal import EscapingStream, as_markup, console, printable, quiet_libraries, say, warn

HOSTILE = {
    "\x1b[31mred": r"\x1b[31mred",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "over\rwritten": r"over\rwritten",
    "\x08\x7f\x9b2J": r"\x08\x7f\x9b2J",
    "\u202etfel": r"\u202etfel",
    "\u2028line": r"\u2028line",
    "\ud83dhalf": r"\ud83dhalf",
    "\ufeffmark": r"\ufeffmark",
}
HARMLESS = [
    "plain",
    "한국어 텍스트",
    "é ñ",
    "a\tb\nc",
    "👩\u200d💻",
    "क\u200dष",
    "a\u00a0b\u3000c",
    r"back\slash",
    "[bold]",
]


@pytest.mark.parametrize(("text", "shown"), HOSTILE.items())
def test_what_would_do_something_is_shown(text, shown, capsys):
    assert printable(text) == shown
    say(text)
    warn(text)
    assert capsys.readouterr().out == f"{shown}\nwarning: {shown}\n"


def test_only_the_main_process_speaks_also_of_those_that_a_kernel_forks(capsys, monkeypatch):
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        say(f"by {rank}")
        warn(f"of {rank}")
    assert capsys.readouterr().out == "by 0\nwarning: of 0\n"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_table_carries_none_of_it_out(text, capsys):
    table = Table(text)
    table.add_row(Text(text))
    console.print(table)
    out = capsys.readouterr().out
    assert out == printable(out)


def test_no_name_between_colons_becomes_a_picture(capsys):
    table = Table()
    table.add_column(as_markup(":fire:"))
    table.add_row(as_markup("a :bug: b"))
    console.print(table)
    say("--classifier own.py:One: no gradient reaches it.")
    warn("own.py:Star: :heart:")
    out = capsys.readouterr().out
    for text in (":fire:", "a :bug: b", "own.py:One: no", "own.py:Star: :heart:"):
        assert text in out


@pytest.mark.parametrize("text", HARMLESS)
def test_text_stays_as_it_is(text, capsys):
    assert printable(text) == text
    say(text)
    assert capsys.readouterr().out.split() == text.split()


@given(st.text(alphabet=st.characters(), max_size=30))
def test_nothing_that_controls_a_terminal_is_left(text):
    left = printable(text)
    assert not any(ord(letter) < 32 or 127 <= ord(letter) < 160 for letter in left.replace("\n", "").replace("\t", ""))
    left.encode()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp949", "utf-8"])
def test_a_stream_writes_escapes_for_what_it_has_no_characters_for(encoding):
    inner = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    EscapingStream(inner).write("산불 é \ud800")
    inner.flush()
    written = inner.buffer.getvalue().decode(encoding)
    assert written == "산불 é \ud800".encode(encoding, "backslashreplace").decode(encoding)


SAYING = """
from rich.progress import Progress
from rich.table import Table
from bert_recipes.terminal import console, say, warn
say("산불 ✓ é")
warn("\\u2028 산불")
table = Table(title="산불")
table.add_column("é")
table.add_row("✓")
console.print(table)
"""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_no_encoding_of_the_terminal_ends_a_program(encoding):
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", SAYING], capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    out = done.stdout.decode(encoding)
    assert ("산불" if encoding == "utf-8" else "\\uc0b0\\ubd88") in out


WRITING = """
from bert_recipes.terminal import standard_output
standard_output().write("\\x1b[31mred,1\\r\\n")
"""


def test_data_is_escaped_for_a_terminal_and_not_for_a_program():
    done = subprocess.run([sys.executable, "-c", WRITING], capture_output=True, check=True)
    assert done.stdout == b"\x1b[31mred,1\r\n"
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", WRITING], stdout=theirs, check=True)
    os.close(theirs)
    assert os.read(ours, 1000) == b"\\x1b[31mred,1\r\n"
    os.close(ours)


def test_a_tokenizer_that_is_not_fast_does_not_report_every_pair(tmp_path, capfd):
    tokenizer = like_bertweet(tmp_path)
    quiet_libraries()
    capfd.readouterr()
    tokenizer(["of " * 20] * 3, ["in " * 20] * 3, truncation=True, max_length=8)
    assert capfd.readouterr().err == ""


def test_bars_are_kept_back_by_what_is_imported_later():
    code = (
        "import sys; from bert_recipes.terminal import quiet_libraries; quiet_libraries();"
        "assert not {'transformers', 'huggingface_hub'} & {*sys.modules};"
        "from huggingface_hub.utils import are_progress_bars_disabled; print(are_progress_bars_disabled())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_PROGRESS_BARS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout == "True\n", done.stderr
