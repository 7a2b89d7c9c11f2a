"""Flags are laid over YAML; what is not known or cannot be honoured is an error that says what is."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from transformers import TrainingArguments

from bert_recipes.arguments import FIXED, NEEDED, CustomArguments, StockArguments, parse_arguments
from bert_recipes.errors import UserError

CONFIGS = sorted(Path(__file__).parents[1].glob("*/configs/*.yaml"))


def parse(*argv, recipe="custom"):
    return parse_arguments({"stock": StockArguments, "custom": CustomArguments}[recipe], "", recipe, list(argv))


def config(tmp_path, text):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return "--config", str(path)


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
    "hub_strategy": "end",
    "length_column_name": "tokens",
    "local_rank": 1,
}


@pytest.mark.parametrize("name", FIXED)
def test_nothing_that_cannot_be_honoured_is_ignored(name, tmp_path):
    wanted, _ = FIXED[name]
    value = OTHER_VALUES.get(name, not wanted[0])
    with pytest.raises(UserError, match=f"--{name} .* cannot be honoured"):
        parse(*config(tmp_path, yaml.safe_dump({name: value})))


@pytest.mark.parametrize(
    ("flags", "cure"),
    [
        (["--run_name", "x"], ["--report_to", "all"]),
        (["--project", "x"], ["--report_to", "all"]),
        (["--trackio_space_id", "x"], ["--report_to", "all"]),
        (["--trackio_bucket_id", "x"], ["--report_to", "all"]),
        (["--trackio_static_space_id", "x"], ["--report_to", "all"]),
        (["--dataloader_persistent_workers"], ["--dataloader_num_workers", "1"]),
        (["--dataloader_multiprocessing_context", "spawn"], ["--dataloader_num_workers", "1"]),
        (["--activation_checkpointing_kwargs", '{"use_reentrant": false}'], ["--activation_checkpointing"]),
        (["--gradient_checkpointing_kwargs", '{"use_reentrant": false}'], ["--gradient_checkpointing"]),
        (["--optim_args", "momentum=0.9"], ["--optim", "sgd"]),
        (["--optim_target_modules", "all-linear"], ["--optim", "galore_adamw"]),
        (["--ddp_timeout", "60"], None),
        (["--hub_model_id", "me/x"], ["--push_to_hub"]),
        (["--hub_token", "x"], ["--push_to_hub"]),
        (["--hub_private_repo", "true"], ["--push_to_hub"]),
    ],
    ids=lambda flags: flags and flags[0],
)
def test_what_has_a_meaning_beside_another_flag_only_says_so(flags, cure):
    with pytest.raises(UserError, match=f"{flags[0]} .* would be ignored"):
        parse("--use_cpu", *flags)
    if cure:
        parse("--use_cpu", *flags, *cure)


def test_every_needed_flag_is_tested():
    mark = test_what_has_a_meaning_beside_another_flag_only_says_so.pytestmark[0]
    assert {flags[0].removeprefix("--") for flags, _ in mark.args[1]} == set(NEEDED)


# What Trainer or the recipes honour as it is set. A new version's field must be put here, or be refused in FIXED.
HONOURED = {
    *("output_dir", "per_device_train_batch_size", "num_train_epochs", "max_steps", "learning_rate", "seed"),
    *("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "optim", "weight_decay", "adam_beta1", "adam_beta2"),
    *("adam_epsilon", "gradient_accumulation_steps", "max_grad_norm", "label_smoothing_factor", "bf16", "fp16"),
    *("activation_checkpointing", "gradient_checkpointing", "torch_compile", "torch_compile_backend"),
    *("tf32", "torch_compile_mode"),
    *("neftune_noise_alpha", "torch_empty_cache_steps", "logging_strategy", "logging_steps"),
    *("logging_first_step", "log_on_each_node", "logging_nan_inf_filter", "include_num_input_tokens_seen"),
    *("log_level", "log_level_replica", "disable_tqdm", "report_to", "eval_strategy", "eval_steps", "eval_delay"),
    *("per_device_eval_batch_size", "eval_on_start", "eval_accumulation_steps", "save_strategy", "save_steps"),
    *("save_total_limit", "load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
    *("restore_callback_states_from_checkpoint", "full_determinism", "data_seed", "use_cpu", "dataloader_drop_last"),
    *("dataloader_num_workers", "dataloader_pin_memory", "dataloader_prefetch_factor", "ddp_find_unused_parameters"),
    *("ddp_bucket_cap_mb", "ddp_broadcast_buffers", "ddp_static_graph", "ddp_backend", "fsdp", "fsdp_config"),
    *("deepspeed", "debug", "skip_memory_metrics", "push_to_hub"),
}


def test_every_argument_of_trainer_is_honoured_or_refused():
    fields = {field.name for field in dataclasses.fields(TrainingArguments) if field.init}
    assert fields - HONOURED - set(FIXED) - set(NEEDED) == {"do_train", "do_eval", "do_predict"}
    assert not HONOURED & (set(FIXED) | set(NEEDED))


def test_a_tracker_that_is_not_installed_is_said_before_anything_is_written():
    with pytest.raises(UserError, match="--report_to comet_ml cannot be honoured: it is not installed"):
        parse("--report_to", "comet_ml")


@pytest.mark.parametrize(
    ("launched", "flags", "expected"),
    [
        ("no", ["--bf16", "false"], "no"),
        ("bf16", [], "bf16"),
        ("bf16", ["--bf16", "false"], None),
        ("fp8", [], None),
    ],
)
def test_the_launchers_precision_is_taken_or_refused(launched, flags, expected, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
    if expected:
        assert parse("--use_cpu", *flags).training.mixed_precision == expected
    else:
        with pytest.raises(UserError, match=f"accelerate launch asks for {launched}"):
            parse("--use_cpu", *flags)


def test_fsdp_on_cpus_where_every_process_would_train_alone_is_refused(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UserError, match="FSDP cannot be honoured on CPUs"):
        parse("--use_cpu")


FOUR_GPUS = """
import torch

torch.cuda.is_available = torch.accelerator.is_available = lambda: True
torch.cuda.device_count = lambda: 4
torch.cuda.set_device = lambda device: None
torch.cuda.is_bf16_supported = lambda **_: True

from bert_recipes.arguments import StockArguments, parse_arguments
from bert_recipes.run import say_which_gpus_idle

training = parse_arguments(StockArguments, "", "stock", ["--per_device_train_batch_size", "16"]).training
print(training.device, training.n_gpu, training.train_batch_size)
say_which_gpus_idle("stock", training)
"""


def test_of_several_gpus_without_a_launcher_one_is_used_and_the_way_to_all_is_said():
    # In a process of its own: accelerate keeps the devices that it has found.
    done = subprocess.run([sys.executable, "-c", FOUR_GPUS], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "cuda:0 1 16",
        "4 GPUs are here and one is used: make recipe-stock PROCS=4 takes them all.",
    ], done.stderr


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
