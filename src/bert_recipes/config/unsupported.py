"""What of `TrainingArguments` a recipe cannot honour, and why: asked for, it is an error rather than ignored."""

from collections.abc import Callable
from typing import Any


def _reports_to(args: Any, tracker: str | None) -> bool:
    trackers = [args.report_to] if isinstance(args.report_to, str) else args.report_to or []
    return any((name != "none" and tracker in (None, name)) or name == "all" for name in trackers)


def _has_cuda(args: Any) -> bool:
    import torch

    return torch.cuda.is_available() and not args.use_cpu


# What a recipe always does: (the values that agree with it, why no other can be honoured).
FIXED: dict[str, tuple[tuple[Any, ...], str]] = {
    "prediction_loss_only": ((False,), "there would be nothing to score"),
    "batch_eval_metrics": ((False,), "scores are computed over all rows, in their order"),
    "eval_do_concat_batches": ((True,), "scores are computed over all rows, in their order"),
    "bf16_full_eval": ((False,), "what is written down is what the saved model gives in float32"),
    "fp16_full_eval": ((False,), "what is written down is what the saved model gives in float32"),
    "remove_unused_columns": ((True,), "the model takes tokens, not texts and ids"),
    "label_names": ((None, ["labels"]), "the labels travel as 'labels' here"),
    "include_for_metrics": (([],), "scores are computed from logits and labels alone"),
    "train_sampling_strategy": (
        ("random", "sequential", "group_by_length"),
        "take random, sequential or group_by_length",
    ),
    "auto_find_batch_size": (
        (False,),
        "it changes the step; lower --per_device_train_batch_size and raise --gradient_accumulation_steps alike",
    ),
    "hub_strategy": (("every_save",), "a run is pushed once, when it is finished"),
    "hub_always_push": ((False,), "a run is pushed once, when it is finished"),
    "hub_revision": ((None,), "a run is pushed to the main branch"),
    "average_tokens_across_devices": ((True,), "a step's loss is divided once, by the whole step"),
    "accelerator_config": ((None,), "a recipe cuts its own batches"),
    "save_only_model": ((False,), "a run could not go on from such a checkpoint"),
    "ignore_data_skip": ((False,), "a run that goes on sees the rows that an undisturbed one would"),
    "restore_callback_states_from_checkpoint": ((False,), "a run that goes on restores its callbacks by itself"),
    "enable_jit_checkpoint": ((False,), "SIGTERM saves a checkpoint here without it"),
    "save_on_each_node": ((False,), "all machines share one run folder"),
    "dataloader_in_order": ((True,), "a step must have the same rows whenever it is repeated"),
    "length_column_name": (("length",), "a recipe counts the tokens itself"),
    "eval_use_gather_object": ((False,), "logits are gathered as tensors"),
    "use_liger_kernel": ((False,), "it has no kernels for encoders, and Trainer would go on without"),
    "liger_kernel_config": ((None,), "it has no kernels for encoders"),
    "use_cache": ((False,), "an encoder keeps no cache"),
    "parallelism_config": ((None,), "a recipe deals rows to processes, and never parts of one row"),
    "local_rank": ((-1,), "the launcher tells each process its rank by the environment"),
}
# What has a meaning beside another value only: (what must hold, which that is).
NEEDED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "hub_model_id": (lambda args: args.push_to_hub, "it needs --push_to_hub"),
    "hub_token": (lambda args: args.push_to_hub, "it needs --push_to_hub"),
    "hub_private_repo": (lambda args: args.push_to_hub, "it needs --push_to_hub"),
    "early_stopping_patience": (
        lambda args: (
            args.load_best_model_at_end and str(getattr(args.eval_strategy, "value", args.eval_strategy)) != "no"
        ),
        "it needs --load_best_model_at_end and an --eval_strategy",
    ),
    "early_stopping_threshold": (lambda args: args.early_stopping_patience, "it needs --early_stopping_patience"),
    "cuda_graphs": (_has_cuda, "it needs a GPU by CUDA"),
    "run_name": (lambda args: _reports_to(args, None), "it needs --report_to"),
    "project": (lambda args: _reports_to(args, "trackio"), "it needs --report_to trackio"),
    "trackio_space_id": (lambda args: _reports_to(args, "trackio"), "it needs --report_to trackio"),
    "trackio_bucket_id": (lambda args: _reports_to(args, "trackio"), "it needs --report_to trackio"),
    "trackio_static_space_id": (lambda args: _reports_to(args, "trackio"), "it needs --report_to trackio"),
    "dataloader_persistent_workers": (lambda args: args.dataloader_num_workers, "it needs --dataloader_num_workers"),
    "dataloader_multiprocessing_context": (
        lambda args: args.dataloader_num_workers,
        "it needs --dataloader_num_workers",
    ),
    "activation_checkpointing_kwargs": (
        lambda args: args.gradient_checkpointing or getattr(args, "activation_checkpointing", False),
        "it needs --gradient_checkpointing",
    ),
    "gradient_checkpointing_kwargs": (
        lambda args: args.gradient_checkpointing or getattr(args, "activation_checkpointing", False),
        "it needs --gradient_checkpointing",
    ),
    "ddp_timeout": (lambda args: not args.use_cpu or args.ddp_timeout == 1800, "a CPU has a fixed one"),
    "optim_args": (
        lambda args: not str(getattr(args.optim, "value", args.optim)).startswith(("adamw_torch", "adafactor")),
        "the optimizer of --optim takes none",
    ),
    "optim_target_modules": (
        lambda args: str(getattr(args.optim, "value", args.optim)).startswith(("galore", "apollo")),
        "it is for GaLore and APOLLO",
    ),
}
# A recipe trains, evaluates and predicts, whatever these say.
NO_MEANING = {"do_train", "do_eval", "do_predict"}
