"""What a run folder says of its configuration."""

import pytest
from support.parsing import parse

from bert_recipes.config.arguments import StockArguments
from bert_recipes.config.parsing import make_arguments
from bert_recipes.config.saved import configuration_of_model, differences, saved_configuration
from bert_recipes.errors import UserError


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("id_column: [a]\n", "run.yaml: id_column is .*, and takes one value"),
        ("max_length: long\n", "run.yaml: max_length is long, and takes a whole number"),
        ("recipe: custom\nhead_layers: {}\n", "run.yaml: head_layers is .*, and takes one value"),
        ("recipe: []\ntask: x\n", "run.yaml: task is x: take"),
        ("a: 2024-02-30\n", "run.yaml is no YAML"),
    ],
)
def test_a_damaged_configuration_is_one_sentence(text, sentence, tmp_path):
    (tmp_path / "run.yaml").write_text(text)
    for read in (saved_configuration, lambda folder: configuration_of_model(str(folder))):
        with pytest.raises(UserError, match=sentence):
            read(tmp_path)


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        ({"warmup_steps": 0.1}, {}, "warmup_steps is 0.1 there and 0 here"),
        ({}, {"learning_rate": 1e-4}, "learning_rate is 5e-05 there and 0.0001 here"),
        ({}, {"lr_scheduler_type": "cosine"}, "lr_scheduler_type is linear there and cosine here"),
        ({"eval_strategy": "steps"}, {}, "eval_strategy is steps there and epoch here"),
        ({"max_length": 64}, {}, "max_length is 64 there and 128 here"),
        ({}, {"pooling": "mean"}, "pooling is pooler there and mean here"),
        ({"labels": ["a", "b"]}, {"labels": None}, "labels is a b there and None here"),
        ({"data_seed": 3}, {}, "data_seed is 3 there and None here"),
        ({"seed": 42}, {}, ""),
        # As the command line and Python give the same default.
        ({"include_num_input_tokens_seen": False}, {}, ""),
        ({"eval_strategy": False}, {"eval_strategy": "no"}, ""),
        ({"a": 1}, {"a": 1}, ""),
    ],
)
def test_a_key_that_one_side_lacks_has_its_default(there, here, said):
    assert differences(there, here) == said


def test_a_start_from_the_command_line_and_one_from_python_are_the_same_run():
    flags = {"dataset": ["my.csv"], "learning_rate": 3e-5, "output_dir": "runs/x"}
    python = make_arguments(StockArguments, flags).configuration
    shell = parse("--dataset", "my.csv", "--learning_rate", "3e-5", "--output_dir", "runs/x", recipe="stock")
    assert differences(shell.configuration, python) == ""
