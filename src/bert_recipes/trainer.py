"""One place that averages: the loss of an optimizer step over all its micro-batches and processes.

`Trainer` divides by a number of items that `BertForSequenceClassification` never uses, so the stock model's loss
grows with gradient accumulation and with the number of processes. Here the step's loss is
`sum(w_i * l_i) / sum(w_i)` over every example of the step, however it is cut.
"""

import contextlib

import numpy as np
import torch
from transformers import DataCollatorWithPadding, EvalPrediction, Trainer
from transformers.trainer_utils import PredictionOutput

from bert_recipes.losses import Loss
from bert_recipes.metrics import scores_from_logits

ROW = "row"
NOT_FOR_THE_MODEL = (ROW,)


class RecipeTrainer(Trainer):
    """A `Trainer` whose steps do not depend on how they are cut and whose predictions come in the rows' order.

    The model computes its own loss, a mean over the batch, as `AutoModelForSequenceClassification` does; this class
    turns it back into a sum and divides by the rows of the whole optimizer step.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, compute_metrics=_compute_metrics, **kwargs)
        # compute_loss divides by the whole step itself, so Trainer must not divide by the micro-batches again.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True

    def _set_signature_columns_if_needed(self):
        super()._set_signature_columns_if_needed()
        for column in (ROW, "labels"):
            if column not in self._signature_columns:
                self._signature_columns.append(column)

    def weight_of(self, labels: torch.Tensor) -> torch.Tensor:
        """The total weight of the examples with these labels, a scalar: for the stock loss their number."""
        return torch.tensor(float(labels.shape[0]), dtype=torch.float64)

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """Collect the micro-batches of one optimizer step, and their total weight over all processes."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        total = sum((self.weight_of(batch["labels"]) for batch in batches), torch.zeros((), dtype=torch.float64))
        total = self.accelerator.reduce(total.to(device), reduction="sum")
        return batches, total

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return this micro-batch's part of the step's loss, a scalar, scaled for DDP's mean over processes."""
        inputs = {name: value for name, value in inputs.items() if name not in NOT_FOR_THE_MODEL}
        outputs = model(**inputs)
        rows = inputs["labels"].shape[0]
        loss = self._share(outputs.loss * rows, rows, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def _share(self, weighted_sum, weight, step_weight):
        if not self.model.training or step_weight is None:
            return weighted_sum / weight
        return weighted_sum / step_weight.to(weighted_sum) * self.accelerator.num_processes

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Return loss, logits and, as label_ids, `(row,)` or `(labels, row)`, so that rows can be put in order."""
        rows = self._prepare_input(inputs[ROW])
        if "labels" in inputs:
            loss, logits, labels = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
            return loss, logits, (labels, rows)
        inputs = {name: value for name, value in inputs.items() if name not in NOT_FOR_THE_MODEL}
        _, logits, _ = super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        return None, logits, (rows,)

    def predict(self, test_dataset, ignore_keys=None, metric_key_prefix="test") -> PredictionOutput:
        """As `Trainer.predict`, in float32, with logits and labels in the order of the rows of `test_dataset`."""
        # What is written down must be what the saved model gives wherever it is loaded: no autocast.
        with self._full_precision():
            output = super().predict(test_dataset, ignore_keys, metric_key_prefix)
        logits, labels = _in_order(output.predictions, output.label_ids)
        return PredictionOutput(predictions=logits, label_ids=labels, metrics=output.metrics)

    @contextlib.contextmanager
    def _full_precision(self):
        # accelerate switches autocast on by wrapping `forward` on the instance; the class still has the plain one.
        wrapped = self.model.__dict__.pop("forward", None)
        try:
            yield
        finally:
            if wrapped is not None:
                self.model.forward = wrapped


class PerExampleTrainer(RecipeTrainer):
    """A `RecipeTrainer` for a model that returns logits alone, under a per-example loss.

    Args:
        loss: `(logits, labels) -> losses [batch]`, or a pair `(losses, weights)`.
    """

    def __init__(self, *args, loss: Loss, **kwargs):
        self.loss = loss
        super().__init__(*args, **kwargs)

    def weight_of(self, labels):
        """The total weight of the examples with these labels, a scalar."""
        weights = getattr(self.loss, "class_weights", None)
        return super().weight_of(labels) if weights is None else weights.to(labels.device)[labels].double().sum()

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return this micro-batch's part of the step's loss: the weighted sum of the per-example losses, shared."""
        labels = inputs["labels"]
        outputs = model(**{k: v for k, v in inputs.items() if k != "labels" and k not in NOT_FOR_THE_MODEL})
        losses = self.loss(outputs.logits, labels)
        losses, weights = losses if isinstance(losses, tuple) else (losses, torch.ones_like(losses))
        loss = self._share((weights * losses).sum(), weights.sum(), num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


class RowCollator(DataCollatorWithPadding):
    """Pads each batch to its longest row and keeps the rows' numbers with them."""


def _compute_metrics(prediction: EvalPrediction) -> dict:
    logits, labels = _in_order(prediction.predictions, prediction.label_ids)
    return {} if labels is None else scores_from_logits(logits, labels)


def _in_order(logits: np.ndarray, label_ids) -> tuple[np.ndarray, np.ndarray | None]:
    label_ids = label_ids if isinstance(label_ids, tuple) else (label_ids,)
    # np.unique also drops the rows that a sampler repeated to fill the last batch of every process.
    _, order = np.unique(label_ids[-1], return_index=True)
    return logits[order], label_ids[0][order] if len(label_ids) == 2 else None
