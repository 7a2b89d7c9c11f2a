"""Names of flags that other scripts have lead to those of these recipes."""

import dataclasses

import pytest
from support.parsing import config, parse

from bert_recipes.config.aliases import CALLED_HERE, DONE_BY
from bert_recipes.config.arguments import RECIPES, CustomArguments, DataArguments
from bert_recipes.config.parsing import make_arguments
from bert_recipes.config.training_arguments import RecipeTrainingArguments
from bert_recipes.errors import UserError

FLAGS = {
    field.name
    for part in (DataArguments, *RECIPES.values(), RecipeTrainingArguments)
    for field in dataclasses.fields(part)
}


def test_no_name_is_a_flag_and_each_leads_to_one():
    assert not FLAGS & {*CALLED_HERE, *DONE_BY}
    assert {*CALLED_HERE.values(), *(flag for flag, _ in DONE_BY.values())} <= FLAGS


@pytest.mark.parametrize(("there", "here"), CALLED_HERE.items())
def test_every_name_is_known_in_flags_files_and_python(there, here, tmp_path):
    with pytest.raises(UserError, match=f"there is no flag --{there}: it is called --{here} here") as caught:
        parse(f"--{there}", "1")
    assert str(caught.value).endswith("here.")
    with pytest.raises(UserError, match=f"config.yaml: there is no key '{there}': it is called {here} here"):
        parse(*config(tmp_path, f"{there}: 1\n"))
    with pytest.raises(UserError, match=f"there is no argument '{there}': it is called {here} here"):
        make_arguments(CustomArguments, {there: 1})


def test_what_no_flag_means_is_pointed_to():
    with pytest.raises(
        UserError, match=r"no flag --warmup_ratio: take --warmup_steps, which takes a share of all steps too"
    ):
        parse("--warmup_ratio", "0.1")
    with pytest.raises(UserError, match="no flag --batch-size: it is called --per_device_train_batch_size here"):
        parse("--batch-size=3")


def test_a_name_leads_to_no_flag_of_another_recipe():
    with pytest.raises(UserError) as caught:
        parse("--llrd", "0.9", recipe="stock")
    assert "layer_decay" not in str(caught.value)
