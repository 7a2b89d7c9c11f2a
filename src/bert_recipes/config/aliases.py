"""What flags are called elsewhere, in other scripts, in other versions of transformers and in everyday speech."""

# The flag of these recipes for each.
CALLED_HERE = {
    "lr": "learning_rate",
    "batch_size": "per_device_train_batch_size",
    "train_batch_size": "per_device_train_batch_size",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "eval_batch_size": "per_device_eval_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "epochs": "num_train_epochs",
    "num_epochs": "num_train_epochs",
    "n_epochs": "num_train_epochs",
    "steps": "max_steps",
    "num_train_steps": "max_steps",
    "accumulation_steps": "gradient_accumulation_steps",
    "grad_accum": "gradient_accumulation_steps",
    "max_seq_length": "max_length",
    "max_seq_len": "max_length",
    "max_len": "max_length",
    "doc_stride": "stride",
    "truncation_side": "long_texts",
    "model_name_or_path": "model",
    "model_name": "model",
    "pretrained_model": "model",
    "dataset_name": "dataset",
    "dataset_path": "dataset",
    "train_data": "train_file",
    "test_data": "test_file",
    "sep": "delimiter",
    "separator": "delimiter",
    "data": "dataset",
    "data_dir": "dataset",
    "patience": "early_stopping_patience",
    "label_smoothing": "label_smoothing_factor",
    "evaluation_strategy": "eval_strategy",
    "optimizer": "optim",
    "scheduler": "lr_scheduler_type",
    "lr_scheduler": "lr_scheduler_type",
    "clip_grad_norm": "max_grad_norm",
    "gradient_clipping": "max_grad_norm",
    "num_workers": "dataloader_num_workers",
    "random_seed": "seed",
    "random_state": "seed",
    "num_folds": "folds",
    "n_folds": "folds",
    "val_size": "validation_size",
    "dropout": "head_dropout",
    "llrd": "layer_decay",
    "output": "output_dir",
    "out_dir": "output_dir",
    "text": "text_column",
    "label": "label_column",
    "target": "label_column",
    "no_cuda": "use_cpu",
    "cpu": "use_cpu",
    "overwrite_output_dir": "overwrite",
    "force": "overwrite",
}
# What to do where no flag means the same: the flag, and what is to be given to it.
DONE_BY = {
    "warmup_ratio": ("warmup_steps", "which takes a share of all steps too, as in 0.1"),
    "warmup": ("warmup_steps", "which takes a number of steps, or a share of all below 1"),
    "group_by_length": ("train_sampling_strategy", "which is group_by_length unless another is given"),
    "resume": ("output_dir", "since an interrupted run goes on by itself from its own"),
    "mixed_precision": ("bf16", "or --fp16"),
}


def called_here(word: str, valid: set[str], prefix: str) -> str | None:
    """Return, for a sentence, what a flag of another place is called here, or which flag does it.

    Args:
        word: its name there.
        valid: the flags that there are.
        prefix: of a flag where it is given.
    """
    word = word.replace("-", "_")
    flag = CALLED_HERE.get(word)
    if flag in valid:
        return f": it is called {prefix}{flag} here"
    flag, how = DONE_BY.get(word, (None, ""))
    return f": take {prefix}{flag}, {how}" if flag in valid else None
