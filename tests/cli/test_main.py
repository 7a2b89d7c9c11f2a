"""How a script ends."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest
from support.paths import RECIPES
from support.started import run

from bert_recipes.cli.main import HOW_MAKE_TAKES_FLAGS


def test_a_mistake_at_the_command_line_is_one_sentence_and_status_2():
    command = [sys.executable, str(RECIPES / "stock.py"), "--dataset", "no/such/place"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --dataset no/such/place")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    debugged = run([*command, "--debug"])
    assert "Traceback" in debugged.stderr


ENDINGS = {
    "says much": "print('line\\n' * 100000)",
    "says little": "print('line')",
    "says it by rich": "from bert_recipes.terminal import say\nfor i in range(100000): say('line')",
    "ends itself": "print('line')\nsys.exit(0)",
    "makes a mistake": "print('line')\nraise UserError('no')",
}
SCRIPT = """
import sys
from bert_recipes.cli.main import run_main
from bert_recipes.errors import UserError

def main():
{body}

sys.argv.append("--help")  # no libraries to quieten
run_main(main)
"""


def started(body, **options):
    script = SCRIPT.format(body=textwrap.indent(body, "    "))
    return subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True, **options)


@pytest.mark.parametrize("name", ENDINGS)
def test_where_nobody_reads_it_ends_without_a_word(name):
    ours, theirs = os.pipe()
    os.close(ours)
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = started(ENDINGS[name], stdout=theirs, env=buffered)
    os.close(theirs)
    said = process.communicate(timeout=60)[1]
    mistake = name == "makes a mistake"
    assert said == ("error: no\n" if mistake else "")
    assert process.returncode == (2 if mistake else 128 + signal.SIGPIPE)


@pytest.mark.parametrize("flags", [["stock.py", "--help"], ["predict.py", "--help"], ["export.py", "--help"]])
def test_help_may_be_cut(flags):
    command = f"{sys.executable} {RECIPES / flags[0]} {flags[1]} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_a_broken_pipe_of_something_else_is_no_end_of_reading():
    process = started("raise BrokenPipeError('of a worker')", stdout=subprocess.PIPE)
    assert "BrokenPipeError: of a worker" in process.communicate(timeout=60)[1]
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("argv", "sentence", "added"),
    [
        ("--model a --input b", "name it with --text_column. It has x.", True),
        # As `make kaggle` begins: what it gave is not what is to be given.
        ("--config a --output_dir b", "name another --output_dir, or --overwrite.", True),
        ("--model a", "--model a is no model", False),
        ("--model a", "run pip install --no-deps -r embedded.txt.", False),
        ("--model a", "go on by: make recipe-stock ARGS='--seed 2'", False),
        # Who has given a flag knows how.
        ("--model a --encoding=utf-8", "give --encoding cp949.", False),
    ],
)
def test_a_sentence_that_names_a_flag_tells_how_make_takes_one(argv, sentence, added):
    body = f"sys.argv[1:] = {argv.split()}\nraise UserError({sentence!r})"
    for made, said in (({"MAKELEVEL": "1"}, sentence + HOW_MAKE_TAKES_FLAGS * added), ({}, sentence)):
        process = started(body, env=os.environ | made)
        assert process.communicate(timeout=60)[1] == f"error: {said}\n"
        assert process.returncode == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_mistake_is_said_in_any_encoding_and_without_commands_for_the_terminal(encoding):
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    body = "print('산불')\nraise UserError('column \\x1b[2J산불')"
    process = started(body, stdout=subprocess.PIPE, env=environment, encoding=encoding)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert out == ("산불\n" if encoding == "utf-8" else "\\uc0b0\\ubd88\n")
    assert said == "error: column \\x1b[2J" + out


def test_a_file_name_with_commands_is_shown():
    command = [sys.executable, str(RECIPES / "stock.py"), "--dataset", "no\x1b[31m/such/place"]
    said = run(command).stderr
    assert "\x1b" not in said
    assert said.startswith("error: --dataset no\\x1b[31m/such/place")
