"""Evaluation in the order of the rows, in batches of like length, on any number of processes."""

import contextlib
import copy
import dataclasses
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, EvalPrediction, PreTrainedModel, Trainer, TrainingArguments
from transformers.trainer_utils import PredictionOutput, seed_worker

from bert_recipes import terminal
from bert_recipes.columns import COUNT, LABELS, LENGTH, NUM_WINDOWS, ROW
from bert_recipes.errors import UserError
from bert_recipes.evaluation.metrics import CHOOSING, scores_from_logits
from bert_recipes.modeling.windows import mean_of_windows
from bert_recipes.modeling.wrapper import OwnClassifier
from bert_recipes.task import SINGLE_LABEL
from bert_recipes.training.batches import ColumnCollator, EvaluationBatches, TextCollator
from bert_recipes.training.rounding import describe_rounding
from bert_recipes.training.trackers import untracked


class EvaluatingTrainer(Trainer):
    """A `Trainer` whose logits, labels and scores come in the rows' order.

    `Trainer` hands back rows in the order in which a sampler served them; here every row is known by its number.
    """

    model: PreTrainedModel
    _signature_columns: Any

    def __init__(self, model: nn.Module | None = None, args: TrainingArguments | None = None, **kwargs: Any) -> None:
        if args is not None and isinstance(model, OwnClassifier) and model.waits_for_gradients:
            # Else several processes would wait for gradients that never come.
            args = copy.copy(args)
            args.ddp_find_unused_parameters = True
        super().__init__(model, args, compute_metrics=self._scores, **kwargs)
        if type(self.data_collator) is DataCollatorWithPadding:
            padding = {f.name: getattr(self.data_collator, f.name) for f in dataclasses.fields(self.data_collator)}
            self.data_collator = (
                ColumnCollator(**padding, config=self.model.config) if self.columns else TextCollator(**padding)
            )
        if self.train_dataset is not None and (self.args.bf16 or self.args.fp16):
            known = self.model.config.columns if self.columns else {}
            half = torch.bfloat16 if self.args.bf16 else torch.float16
            for sentence in describe_rounding(known, self.train_dataset, half):
                terminal.say(sentence)

    @property
    def columns(self) -> list[str]:
        """The columns of the data that the model takes beside the text."""
        return [*self.model.config.columns] if isinstance(self.model, OwnClassifier) else []

    @property
    def problem_type(self) -> str:
        """What transformers calls the task; it is decided once, before the model is made."""
        return self.model.config.problem_type or SINGLE_LABEL

    def weights_of(self, labels: Tensor) -> Tensor:
        """Return the weights `[batch]` of the examples with these labels: by default each counts the same."""
        return torch.ones(len(labels))

    def losses_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the per-example losses `[batch]` of logits `[batch, num_labels]`."""
        raise NotImplementedError

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        # Trainer also takes "label" and "label_ids" for labels: here they would be columns of the data's own.
        taken = set(self._signature_columns) - {"label", "label_ids"}
        self._signature_columns = sorted(taken | {ROW, LABELS, NUM_WINDOWS, *self.columns})

    def _loading(self) -> dict[str, Any]:
        args = self.args
        return {
            "num_workers": args.dataloader_num_workers,
            "pin_memory": args.dataloader_pin_memory and torch.accelerator.is_available(),
            "persistent_workers": args.dataloader_persistent_workers,
            "prefetch_factor": args.dataloader_prefetch_factor,
            "multiprocessing_context": args.dataloader_multiprocessing_context,
            "worker_init_fn": partial(seed_worker, num_workers=args.dataloader_num_workers, rank=args.process_index),
        }

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """Return this process's batches of the validation split, sorted by length."""
        return self._evaluation_loader(self.eval_dataset if eval_dataset is None else eval_dataset)

    def get_test_dataloader(self, test_dataset: Any) -> DataLoader[Any]:
        """Return this process's batches of `test_dataset`, sorted by length."""
        return self._evaluation_loader(test_dataset)

    def _evaluation_loader(self, dataset: Dataset) -> DataLoader[Any]:
        args = self.args
        batches = EvaluationBatches(
            lengths_of(dataset),
            args.eval_batch_size,
            processes=args.world_size,
            process=args.process_index,
            windows=dataset.with_format("numpy")[NUM_WINDOWS][:] if NUM_WINDOWS in dataset.column_names else None,
        )
        rows = self._remove_unused_columns(dataset, description="evaluation")
        return DataLoader(rows, batch_sampler=batches, collate_fn=self.data_collator, **self._loading())

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> Any:
        """Return no loss, logits and, as label_ids, `(row,)` or `(labels, row)`, so that rows can be put in order."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad():
            logits = outputs_of(model, inputs).logits.detach()
        return None, logits, tuple(inputs[name] for name in (LABELS, ROW) if name in inputs)

    def _scores(self, prediction: EvalPrediction) -> dict[str, Any]:
        logits, labels = _in_order(prediction.predictions, prediction.label_ids)
        if labels is None:
            return {}
        if not np.isfinite(logits).all():
            raise UserError(
                f"after step {self.state.global_step:,} the model's logits are not finite any more: lower "
                "--learning_rate, or raise --warmup_steps."
            )
        logits_and_labels = torch.from_numpy(logits).double(), torch.from_numpy(labels)
        weights = self.weights_of(logits_and_labels[1]).double()
        loss = (weights * self.losses_of(*logits_and_labels)).sum() / weights.sum()
        scores = {"loss": loss.item(), **scores_from_logits(logits, labels, self.problem_type)}
        if "per_label" in scores:
            scores["per_label"] = dict(
                zip((self.model.config.id2label or {}).values(), scores["per_label"], strict=True)
            )
        chosen_by = self.args.metric_for_best_model
        if self.is_in_train and self.args.load_best_model_at_end and chosen_by not in scores:
            raise UserError(
                f"--metric_for_best_model {chosen_by} is undefined on these validation rows, where a class is absent "
                f"or all predictions are the same: take another, such as {next(iter(CHOOSING[self.problem_type]))}."
            )
        return scores

    def log(self, logs: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """As `Trainer.log`, in single numbers, as trackers take them: each label's F1, and no confusion matrix."""
        flat: dict[str, Any] = {}
        for name, value in logs.items():
            if name.endswith("per_label"):
                of_labels = value.items()
                flat |= {f"{name.removesuffix('per_label')}f1_of_{label}": s["f1"] for label, s in of_labels}
            elif not name.endswith("confusion_matrix"):
                flat[name] = value
        super().log(flat, *args, **kwargs)

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """As `Trainer.predict`, in float32, with logits and labels in the order of the rows of `test_dataset`."""
        # What is written down must be what the saved model gives wherever it is loaded: no autocast.
        with self._full_precision(), untracked(self.callback_handler):
            output = super().predict(test_dataset, ignore_keys, metric_key_prefix)
        logits, labels = _in_order(output.predictions, output.label_ids)
        return PredictionOutput(predictions=logits, label_ids=labels, metrics=output.metrics)

    @contextlib.contextmanager
    def _full_precision(self) -> Iterator[None]:
        # accelerate switches autocast on by wrapping `forward` on the instance; the class still has the plain one.
        wrapped = self.model.__dict__.pop("forward", None)
        try:
            yield
        finally:
            if wrapped is not None:
                self.model.__dict__["forward"] = wrapped


def outputs_of(model: nn.Module, inputs: dict[str, Any], passes: int = 1, **options: Any) -> Any:
    """Return what a model gives for a batch, in one forward pass, with one row of logits for each text.

    Args:
        model: it takes `[rows, length]` and returns logits `[rows, num_labels]`; rows are texts, or their windows.
        inputs: the batch.
        passes: how many times each row goes through the model; the logits are `[passes * batch, num_labels]`.
        options: what else the model takes.
    """
    taken = {name: value for name, value in inputs.items() if name not in (ROW, LABELS, COUNT, NUM_WINDOWS)}
    outputs = model(**{name: torch.cat([value] * passes) for name, value in taken.items()}, **options)
    if NUM_WINDOWS in inputs:
        outputs["logits"] = mean_of_windows(outputs.logits, inputs[NUM_WINDOWS].repeat(passes))
    return outputs


def lengths_of(dataset: Dataset) -> np.ndarray:
    """Return the tokens of each row, `[rows]`."""
    return dataset.with_format("numpy")[LENGTH][:]


def _in_order(logits: Any, label_ids: Any) -> tuple[np.ndarray, np.ndarray | None]:
    # np.unique also drops the rows that were repeated to fill the last batch of every process.
    _, order = np.unique(label_ids[-1], return_index=True)
    return logits[order], label_ids[0][order] if len(label_ids) == 2 else None
