"""`--help` tells every flag that is honoured, with the recipes' own defaults."""

import dataclasses

import pytest
from support.scripts import help_of

from bert_recipes.config.arguments import POOLING_NAMES, CustomArguments, DataArguments
from bert_recipes.config.training_arguments import RecipeTrainingArguments
from bert_recipes.config.unsupported import FIXED, NO_MEANING
from bert_recipes.modeling.pooling import POOLINGS
from bert_recipes.task import PROBLEM_TYPES, TASKS


def test_every_flag_is_told_but_those_that_would_be_refused():
    text = help_of("custom.py")
    fields = {f.name for part in (DataArguments, CustomArguments) for f in dataclasses.fields(part)}
    of_trainer = {f.name for f in dataclasses.fields(RecipeTrainingArguments) if f.init}
    told = {word[2:] for word in text.split() if word.startswith("--")}
    refused = set(FIXED) - {"train_sampling_strategy"}
    missing = (fields | of_trainer) - refused - (NO_MEANING - {"debug"}) - told
    assert not missing
    assert not told & refused


@pytest.mark.parametrize("flag", ["--eval_strategy", "--output_dir", "--save_total_limit"])
def test_the_defaults_are_those_of_the_recipes(flag):
    told = " ".join(help_of("stock.py").split(f"  {flag} ")[1].split("\n  --")[0].split())
    default = {"--eval_strategy": "epoch", "--output_dir": "runs/stock", "--save_total_limit": "2"}[flag]
    assert told.endswith(f"[{default}]")


def test_the_names_that_help_tells_are_those_that_there_are():
    assert tuple(POOLINGS) == POOLING_NAMES
    assert tuple(PROBLEM_TYPES) == TASKS
