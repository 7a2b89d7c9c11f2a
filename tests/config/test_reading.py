"""How long texts are read: what the flags mean together, and how that is said."""

import re

import pytest
from support.parsing import parse

from bert_recipes.config.reading import Reading
from bert_recipes.errors import UserError


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--stride", "4"], "--stride 4 is of windows: give --long_texts windows too"),
        (["--max_windows", "4", "--long_texts", "tail"], "--max_windows 4 is of windows"),
        (["--long_texts", "middle"], "middle"),
        (["--long_texts", "windows", "--stride", "-1"], "--stride -1: give 0 or more"),
        (["--long_texts", "windows", "--max_windows", "0"], "--max_windows 0: give 1 or more"),
        (["--truncation_side", "left"], "--long_texts"),
    ],
)
def test_what_does_not_fit_is_refused(flags, sentence):
    with pytest.raises(UserError, match=sentence):
        parse(*flags)


def test_the_flags_are_one_reading_and_keys_of_the_configuration():
    args = parse("--long_texts", "windows", "--stride", "5")
    assert args.data.reading == Reading("windows", 5)
    assert Reading.of(args.configuration) == args.data.reading
    # What an older run's run.yaml lacks.
    assert Reading.of({"max_length": 128}) == parse().data.reading == Reading()


def test_what_a_model_says_leaves_nothing_to_a_default():
    assert Reading("windows").saved(64) == {"max_length": 64, "long_texts": "windows", "stride": 16, "max_windows": 32}
    assert Reading.of(Reading("windows").saved(64)) == Reading("windows", 16, 32)
    assert Reading("tail").saved(64) == {"max_length": 64, "long_texts": "tail"}


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        (Reading(), "is truncated, at its end unless the tokenizer's `truncation_side` is left"),
        (Reading("head"), "the first 512 are read"),
        (Reading("tail"), "the last 512 are read"),
        (Reading("head_tail"), r"512 \(its first 128, and else its last\) are read"),
        (
            Reading("windows", 100, 9),
            "in up to 9 windows of 512, neighbours sharing 100, and the mean of their logits",
        ),
    ],
)
def test_each_way_is_said_in_a_sentence(reading, said):
    assert re.search(said, reading.in_words(512))
