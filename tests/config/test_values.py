"""Values of files, of Python and of flags are checked by the types and ranges of their fields."""

import dataclasses
from typing import get_args, get_type_hints

import numpy as np
import pytest
from support.parsing import config, parse

from bert_recipes.config.arguments import RECIPES, CustomArguments, DataArguments
from bert_recipes.config.parsing import make_arguments
from bert_recipes.config.ranges import RANGES
from bert_recipes.config.training_arguments import RecipeTrainingArguments
from bert_recipes.config.unsupported import FIXED
from bert_recipes.errors import UserError

PARTS = (DataArguments, *RECIPES.values(), RecipeTrainingArguments)
TYPES = {field.name: get_type_hints(part)[field.name] for part in PARTS for field in dataclasses.fields(part)}


def fields_of(*kinds):
    """The names of the fields that hold one of these and nothing else, but for None."""
    wanted = {*kinds, type(None)}
    return sorted(
        name for name, kind in TYPES.items() if {*(get_args(kind) or (kind,))} <= wanted and name not in FIXED
    )


NUMBERS = fields_of(int, float)


def recipe_with(name):
    """The name of a recipe that has a field, the custom one where it does."""
    has = [recipe for recipe, part in RECIPES.items() if name in {field.name for field in dataclasses.fields(part)}]
    return "custom" if "custom" in has or not has else has[0]


def make(**values):
    return make_arguments(RECIPES[recipe_with(next(iter(values)))], values)


def test_every_number_has_a_range():
    assert set(NUMBERS) <= set(RANGES) <= set(TYPES)


@pytest.mark.parametrize("value", ["fast", True, [1], {"a": 1}, float("nan"), float("inf"), -float("inf"), 10**400])
@pytest.mark.parametrize("name", NUMBERS)
def test_what_is_no_finite_number_is_refused_for_every_number(name, value):
    with pytest.raises(UserError, match=rf"(the arguments: {name} is|--{name} )") as caught:
        make(**{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", fields_of(int))
def test_a_part_of_a_number_is_no_count(name, tmp_path):
    with pytest.raises(UserError, match=f"{name} is 2.5, and takes a whole number"):
        parse(*config(tmp_path, f"{name}: 2.5\n"), recipe=recipe_with(name))


@pytest.mark.parametrize("name", fields_of(bool))
def test_a_switch_is_true_or_false(name):
    for value in (3, 0.5, "perhaps"):
        with pytest.raises(UserError, match=f"{name} is {value}, and takes true or false"):
            make(**{name: value})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["nan", "inf", "-2", "9" * 30, "1e400"])
def test_a_flag_out_of_range_is_refused_before_anything_is_opened(name, value, tmp_path):
    allowed = RANGES[name]
    if value == "9" * 30 and allowed.most is None and allowed.below is None:
        assert parse(f"--{name}", value, recipe=recipe_with(name))
        return
    with pytest.raises(UserError, match=f"(--{name} |argument --{name}.*invalid int value)"):
        parse(f"--{name}={value}", recipe=recipe_with(name))


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--max_length", "0"], "--max_length 0: give 3 or more"),
        (["--gradient_accumulation_steps", "-1"], "--gradient_accumulation_steps -1: give 1 or more"),
        (["--per_device_train_batch_size", "0"], "--per_device_train_batch_size 0: give 1 or more, and at most 2,147"),
        (["--max_steps", "0"], "--max_steps 0: give 1 or more, or -1 where the epochs count"),
        (["--layer_decay", "0"], "--layer_decay 0.0: give more than 0, and at most 1"),
        (["--adam_beta1", "1"], "--adam_beta1 1.0: give 0 to less than 1"),
        (["--seed", "-1"], "--seed -1: give 0 or more"),
        (["--config"], "--config: expected one argument: give a YAML file"),
        (["--config", "-inf"], "--config: expected one argument: give a YAML file"),
    ],
)
def test_the_sentence_says_what_to_give(argv, sentence):
    with pytest.raises(UserError, match=sentence):
        parse(*argv)


def test_a_file_says_with_text_what_a_flag_says(tmp_path):
    text = 'learning_rate: "3e-5"\nseed: "7"\nbf16: "false"\nfreeze_embeddings: 1\ntext_column: 3\neval_strategy: no\n'
    written = parse(*config(tmp_path, text + "load_best_model_at_end: off\nnum_train_epochs: 2\n"))
    assert (written.training.learning_rate, written.training.seed, written.training.bf16) == (3e-5, 7, False)
    assert (written.model.freeze_embeddings, written.data.text_column) == (True, ["3"])
    assert written.training.eval_strategy == "no"
    assert repr(written.training.num_train_epochs) == "2"


def test_python_may_give_numbers_of_numpy_and_none():
    made = make_arguments(
        CustomArguments,
        {"seed": np.int64(3), "max_grad_norm": np.float32(0.5), "folds": None, "output_dir": None, "max_steps": -1},
    )
    assert (made.training.seed, made.training.max_grad_norm) == (3, 0.5)
    assert type(made.training.seed) is int
    assert made.training.output_dir == "runs/custom"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("fsdp: [1, 2]\n", r"config.yaml: fsdp is \[1, 2\], and takes one value"),
        ("debug: true\n", "debug is True, and takes a text: put it between quotation marks"),
        ("debug: [[underflow_overflow]]\n", "debug is .*, and takes a list of plain values"),
        ("model: true\n", "model is True, and takes a text"),
        ("seed:\n", "seed has no value: give one, or leave it out"),
        ("lr_scheduler_kwargs: 3\n", "lr_scheduler_kwargs is 3, and takes keys and values"),
        ("normalize: [urls, mention]\n", "normalize is mention; did you mean mentions: take entities, urls, mentions"),
        ("lr_scheduler_type: cosin\n", "lr_scheduler_type is cosin; did you mean cosine: take linear"),
        ("labels: [[a], b]\n", "labels is .*, and takes a list of plain values"),
        ("metric_for_best_model: {a: 1}\n", "metric_for_best_model is .*, and takes one value"),
    ],
)
def test_values_of_another_type_are_refused(text, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        parse(*config(tmp_path, text))
