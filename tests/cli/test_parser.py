"""A script's mistakes on the command line are one sentence each."""

import subprocess
import sys

import pytest

from bert_recipes.cli.parser import ScriptParser
from bert_recipes.errors import UserError


@pytest.fixture
def parser():
    parser = ScriptParser("What it does.\n\n    python as_it_stands.py")
    parser.add_argument("--model", required=True)
    parser.add_argument("--rounds", type=int, default=3)
    return parser


def test_flags_are_read_and_debug_is_always_there(parser):
    args = parser.parse_args(["--model", "m", "--debug"])
    assert (args.model, args.rounds, args.debug) == ("m", 3, True)
    assert "\n    python as_it_stands.py\n" in parser.format_help()
    assert "show the traceback of an error" in parser.format_help()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--model", "m", "--ruonds", "4"], "unrecognized arguments: --ruonds 4; did you mean --rounds."),
        (["--model", "m", "--ruonds=4"], "unrecognized arguments: --ruonds=4; did you mean --rounds."),
        (["--model", "m", "--mod", "m"], "unrecognized arguments: --mod m; did you mean --model."),
        (["--model", "m", "--xyz"], "unrecognized arguments: --xyz (see --help)."),
        (["--model", "m", "rounds"], "unrecognized arguments: rounds (see --help)."),
        (["--model", "m", "--rounds", "x"], "argument --rounds: invalid int value: 'x' (see --help)."),
        ([], "the following arguments are required: --model (see --help)."),
    ],
)
def test_a_mistake_is_one_sentence(flags, sentence, parser):
    with pytest.raises(UserError) as caught:
        parser.parse_args(flags)
    assert str(caught.value) == sentence


def test_flags_of_others_are_handed_on(parser):
    _, others = parser.parse_known_args(["--model", "m", "--learning_rate", "1e-4"])
    assert others == ["--learning_rate", "1e-4"]


def test_the_parser_needs_neither_torch_nor_transformers():
    code = "import sys, bert_recipes.cli.parser; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
