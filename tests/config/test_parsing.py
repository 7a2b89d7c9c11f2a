"""Flags are laid over YAML; what is wrong in either is said."""

import pytest
import yaml
from support.parsing import config, parse
from support.paths import ROOT

from bert_recipes.config.arguments import StockArguments
from bert_recipes.config.parsing import parse_arguments
from bert_recipes.errors import UserError

CONFIGS = sorted(ROOT.glob("*/configs/*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("recipe", ["stock", "custom"])
def test_the_shipped_configurations_are_valid(path, recipe):
    of_recipe = yaml.safe_load(path.read_text()).get("recipe", recipe)
    if of_recipe != recipe:
        with pytest.raises(UserError, match=f"is of another recipe than {recipe}"):
            parse("--config", str(path), recipe=recipe)
        return
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


def test_what_the_files_hold_can_be_said():
    flags = ["--text_column", "title", "body", "--no_test_labels", "--submission", "probabilities", "--decimal", ","]
    data = parse(*flags).data
    assert (data.text_column, data.no_test_labels) == (["title", "body"], True)
    assert (data.submission, data.decimal) == ("probabilities", ",")
    assert parse().data.text_column is None
    assert not parse().data.no_test_labels


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--learning_rat", "1"], "no flag --learning_rat; did you mean --learning_rate"),
        (["--learning_rate", "fast"], "invalid float value: 'fast'"),
        (["--submission", "logits"], "invalid choice: 'logits'"),
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


def test_a_classifier_takes_the_place_of_a_files_head_and_of_no_flag(tmp_path, capsys):
    written = config(tmp_path, "pooling: cls\nhead_layers: 1\nlayer_decay: 0.9\n")
    model = parse(*written, "--classifier", "mine.py:Mine").model
    assert (model.pooling, model.head_layers, model.layer_decay) == ("pooler", 0, 0.9)
    said = " ".join(capsys.readouterr().out.split())
    assert "--classifier takes the place of head_layers, pooling in" in said
    with pytest.raises(UserError, match="brings its own pooling and head: leave out --pooling"):
        parse(*written, "--classifier", "mine.py:Mine", "--pooling", "mean")
    with pytest.raises(UserError, match="brings its own pooling and head: leave out --pooling"):
        parse(*config(tmp_path, "pooling: cls\nclassifier: mine.py:Mine\n"))


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


def test_the_lowest_loss_can_choose_the_checkpoint():
    assert parse("--metric_for_best_model", "loss").training.greater_is_better is False


def test_debug_alone_is_ours_and_with_a_value_trainers():
    assert parse("--debug").training.debug == []
    assert len(parse("--debug", "underflow_overflow").training.debug) == 1


OWN_DEFAULTS = ["--load_best_model_at_end", "false", "--save_strategy", "steps", "--eval_strategy", "steps"]
OWN_DEFAULTS += ["--logging_steps", "500", "--save_total_limit", "1", "--train_sampling_strategy", "random"]
OWN_DEFAULTS += ["--per_device_eval_batch_size", "8"]


def test_a_configuration_keeps_what_is_trainers_default_and_not_the_recipes(tmp_path):
    first = parse(*OWN_DEFAULTS)
    second = parse(*config(tmp_path, yaml.safe_dump(first.configuration)))
    assert second.training.to_dict() == first.training.to_dict()


def test_a_yaml_file_says_what_a_flag_says(tmp_path):
    text = "class_weights: balanced\nloss: focal\nloss_options: {gamma: 1.5}\nlabel_column: [a, b]\nlabels: [1, 0]\n"
    flags = [
        "--class_weights",
        "balanced",
        "--loss",
        "focal",
        "--loss_options",
        "gamma=1.5",
        "--label_column",
        "a",
        "b",
    ]
    written, given = parse(*config(tmp_path, text)), parse(*flags, "--labels", "1", "0")
    assert (written.data, written.model) == (given.data, given.model)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("task: regresion\n", "task is regresion; did you mean regression: take binary, multi-class"),
        ("pooling: [mean, max]\n", r"pooling is \['mean', 'max'\], and takes one value"),
        ("label_smoothing_factor: 1.5\n", "--label_smoothing_factor 1.5: give 0 to less than 1"),
        ("head_learning_rate: -1\n", "--head_learning_rate -1: give more than 0"),
    ],
)
def test_a_value_that_is_wrong_in_a_file_is_said(text, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        parse(*config(tmp_path, text))


def test_the_labels_of_a_file_go_with_its_data_set(tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text("dataset: embedded:fine-foods\nlabels: [other, great]\nmax_length: 64\n")

    def labels(*flags):
        return parse_arguments(StockArguments, "", "stock", ["--config", str(config), *flags]).data

    assert labels().labels == ["other", "great"]
    assert labels("--dataset", "mine.csv").labels is None
    assert labels("--dataset", "mine.csv").max_length == 64
    assert labels("--dataset=mine.csv", "--labels", "a", "b").labels == ["a", "b"]


def test_a_configuration_at_home_is_found_as_make_names_it(tmp_path, monkeypatch):
    config(tmp_path, "num_train_epochs: 7\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    (name,) = (path.name for path in tmp_path.iterdir())
    assert parse("--config", f"~/{name}").training.num_train_epochs == 7


PUSHED = ["--push_to_hub", "--hub_model_id", "me/mine"]


@pytest.mark.parametrize("recipe", ["baseline", "search", "audit"])
def test_what_ends_with_no_model_pushes_none(recipe):
    with pytest.raises(UserError, match=f"--push_to_hub cannot be honoured: recipes/{recipe}.py ends with no model"):
        parse(*PUSHED, recipe=recipe)


def test_the_baseline_leaves_what_a_configuration_says_of_a_model(tmp_path):
    asked = config(tmp_path, yaml.safe_dump(parse(*PUSHED, "--hub_token", "secret").configuration | {"refit": True}))
    assert not parse(*asked, recipe="baseline").training.push_to_hub
