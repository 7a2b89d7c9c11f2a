"""The defaults of these recipes where `TrainingArguments` has others."""

from typing import Any

DEFAULTS: dict[str, Any] = {
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "save_total_limit": 2,
    "load_best_model_at_end": True,
    "logging_steps": 10,
    "train_sampling_strategy": "group_by_length",
    "per_device_eval_batch_size": 64,
    "report_to": "none",
    "label_names": ["labels"],
    "ddp_find_unused_parameters": False,
}
