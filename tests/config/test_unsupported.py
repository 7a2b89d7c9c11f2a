"""Every argument of `Trainer` is honoured or refused; nothing that is set is ignored."""

import dataclasses

import pytest
import yaml
from support.parsing import config, parse
from transformers import TrainingArguments

from bert_recipes.config.unsupported import FIXED, NEEDED
from bert_recipes.errors import UserError

OTHER_VALUES = {
    "label_names": ["class"],
    "include_for_metrics": ["loss"],
    "train_sampling_strategy": "batch_rebalance",
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
        (["--early_stopping_patience", "2", "--load_best_model_at_end", "false"], None),
        (["--early_stopping_threshold", "0.1"], ["--early_stopping_patience", "2"]),
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
        (["--optim_target_modules", "all-linear"], None),  # what takes it needs a package of its own
        (["--ddp_timeout", "60"], None),
        (["--cuda_graphs"], None),
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
    *("resume_from_checkpoint", "output_dir"),
    *("per_device_train_batch_size", "num_train_epochs", "max_steps", "learning_rate", "seed"),
    *("lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "optim", "weight_decay", "adam_beta1", "adam_beta2"),
    *("adam_epsilon", "gradient_accumulation_steps", "max_grad_norm", "label_smoothing_factor", "bf16", "fp16"),
    *("activation_checkpointing", "gradient_checkpointing", "torch_compile", "torch_compile_backend"),
    *("tf32", "torch_compile_mode"),
    *("neftune_noise_alpha", "torch_empty_cache_steps", "logging_strategy", "logging_steps"),
    *("logging_first_step", "log_on_each_node", "logging_nan_inf_filter", "include_num_input_tokens_seen"),
    *("log_level", "log_level_replica", "disable_tqdm", "report_to", "eval_strategy", "eval_steps", "eval_delay"),
    *("per_device_eval_batch_size", "eval_on_start", "eval_accumulation_steps", "save_strategy", "save_steps"),
    *("save_total_limit", "load_best_model_at_end", "metric_for_best_model", "greater_is_better"),
    *("full_determinism", "data_seed", "use_cpu", "dataloader_drop_last"),
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
