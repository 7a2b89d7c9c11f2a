"""Flags are laid over YAML; what is not known or cannot be honoured is an error that says what is."""

from pathlib import Path

import pytest
import yaml

from bert_recipes.arguments import FIXED, CustomArguments, StockArguments, parse_arguments
from bert_recipes.errors import UserError

CONFIGS = sorted((Path(__file__).parents[1] / "recipes/configs").glob("*.yaml"))


def parse(*argv, recipe="custom"):
    return parse_arguments({"stock": StockArguments, "custom": CustomArguments}[recipe], "", recipe, list(argv))


def config(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return "--config", str(path)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("recipe", ["stock", "custom"])
def test_the_shipped_configurations_are_valid(path, recipe):
    args = parse("--config", str(path), recipe=recipe)
    assert args.training.output_dir == f"runs/{recipe}"


def test_flags_win_over_yaml_and_yaml_over_defaults(tmp_path):
    written = config(tmp_path, "learning_rate: 1.0e-3\nmax_length: 32\ndataset: here.csv\n")
    args = parse(*written, "--max_length", "64")
    assert (args.training.learning_rate, args.data.max_length, args.data.dataset) == (1e-3, 64, ["here.csv"])
    assert args.training.save_total_limit == 2


@pytest.mark.parametrize("recipe", ["stock", "custom"])
def test_a_configuration_read_again_is_the_same(recipe, tmp_path):
    flags = ["--label_smoothing_factor", "0.1", "--warmup_steps", "0.1", "--labels", "b", "a", "--max_steps", "7"]
    if recipe == "custom":
        flags += ["--class_weights", "1", "2.5", "--pooling", "mean"]
    first = parse(*flags, recipe=recipe)
    second = parse(*config(tmp_path, yaml.safe_dump(first.configuration)), recipe=recipe)
    assert second.configuration == first.configuration
    assert second.training.to_dict() == first.training.to_dict()
    assert (second.data, second.model) == (first.data, first.model)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--learning_rat", "1"], "no flag --learning_rat; did you mean --learning_rate"),
        (["--learning_rate", "fast"], "invalid float value: 'fast'"),
        (["stray"], "'stray' belongs to no flag"),
        (["--config", "none.yaml"], "--config none.yaml cannot be read: No such file"),
        (["--fp16", "--bf16"], "(?i)fp16.*bf16|bf16.*fp16"),
        (["--eval_strategy", "no"], "load_best_model_at_end"),
        (["--validation_size", "0"], "give a number between 0 and 1"),
        (["--do_train", "true"], "--do_train has no meaning here"),
    ],
)
def test_what_is_wrong_is_said(argv, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        parse(*argv)
    assert "\n" not in str(caught.value)


def test_a_flag_of_the_other_recipe_says_so():
    with pytest.raises(UserError, match="no flag --pooling in this recipe: it is one of the custom recipe's"):
        parse("--pooling", "mean", recipe="stock")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("learnin_rate: 1\n", "config.yaml: there is no key 'learnin_rate'; did you mean learning_rate"),
        ("- a\n", "must hold keys and values"),
        ("a: [1\n", "is no YAML"),
        ("recipe: stock\n", "is of another recipe than custom"),
    ],
)
def test_what_is_wrong_in_a_file_is_said(text, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        parse(*config(tmp_path, text))


OTHER_VALUES = {
    "label_names": ["class"],
    "include_for_metrics": ["loss"],
    "train_sampling_strategy": "batch_rebalance",
    "resume_from_checkpoint": "x",
    "accelerator_config": "x.json",
}


@pytest.mark.parametrize("name", FIXED)
def test_nothing_that_cannot_be_honoured_is_ignored(name, tmp_path):
    wanted, _ = FIXED[name]
    value = OTHER_VALUES.get(name, not wanted[0])
    with pytest.raises(UserError, match=f"--{name} .* cannot be honoured"):
        parse(*config(tmp_path, yaml.safe_dump({name: value})))


def test_the_lowest_loss_can_choose_the_checkpoint():
    assert parse("--metric_for_best_model", "loss").training.greater_is_better is False


def test_debug_alone_is_ours_and_with_a_value_trainers():
    assert parse("--debug").training.debug == []
    assert len(parse("--debug", "underflow_overflow").training.debug) == 1
