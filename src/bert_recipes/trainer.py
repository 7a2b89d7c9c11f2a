"""One place that averages: the loss of an optimizer step over all its micro-batches and processes.

`Trainer` divides by a number of items that `BertForSequenceClassification` never uses, so the stock model's loss
grows with gradient accumulation and with the number of processes. Here the step's loss is
`sum(w_i * l_i) / sum(w_i)` over every example of the step, however it is cut.
"""

import contextlib
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, EvalPrediction, PrinterCallback, ProgressCallback, Trainer
from transformers.trainer_utils import PredictionOutput, rotate_checkpoints, seed_worker

from bert_recipes import cpu
from bert_recipes.batches import COUNT, EvaluationBatches, StandInCollator, StepBatches, StepLoader
from bert_recipes.checkpoints import LogWithSave, StopOnSignal, checkpoint_folder, seal
from bert_recipes.console import TrainingProgress
from bert_recipes.encoders import merge_lora
from bert_recipes.errors import UserError
from bert_recipes.labels import SINGLE_LABEL
from bert_recipes.losses import DEFAULT_LOSSES, Loss, losses_and_weights
from bert_recipes.metrics import CHOOSING, scores_from_logits
from bert_recipes.optimization import parameter_groups

ROW, LABELS, LENGTH = "row", "labels", "length"


class RecipeTrainer(Trainer):
    """A `Trainer` whose steps do not depend on how they are cut and whose predictions come in the rows' order.

    The model computes its own loss, a mean over the batch, as `AutoModelForSequenceClassification` does; this class
    turns it back into a sum and divides by the rows of the whole optimizer step.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, compute_metrics=self._scores, **kwargs)
        # compute_loss divides by the whole step itself, so Trainer must not divide by the micro-batches again
        # (loss_is_scaled_for_ga says so since transformers 5.2x, the other one before).
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)
        self.progress, self.signals = TrainingProgress(), StopOnSignal()
        for callback in (self.signals, LogWithSave(), self.progress):
            self.add_callback(callback)
        if self.args.device.type == "cpu":
            cpu.quicken(self.model)
        elif isinstance(self.data_collator, DataCollatorWithPadding):
            # Tensor cores take lengths that are multiples of 8.
            self.data_collator.pad_to_multiple_of = 8

    @property
    def problem_type(self) -> str:
        """What transformers calls the task; it is decided once, before the model is made."""
        return self.model.config.problem_type or SINGLE_LABEL

    def train(self, *args, **kwargs):
        """As `Trainer.train`; the terminal and the signals are given back however it ends."""
        try:
            return super().train(*args, **kwargs)
        finally:
            self.progress.close()
            self.signals.close()

    # The rows of a step

    def _set_signature_columns_if_needed(self):
        super()._set_signature_columns_if_needed()
        # Trainer also takes "label" and "label_ids" for labels: here they would be columns of the data's own.
        taken = set(self._signature_columns) - {"label", "label_ids"}
        self._signature_columns = sorted(taken | {ROW, LABELS})

    def get_train_dataloader(self) -> StepLoader:
        """Return the micro-batches of this process, dealt by `StepBatches`."""
        args = self.args
        rows = self._remove_unused_columns(self.train_dataset, description="training")
        batches = StepBatches(
            len(rows),
            micro_batch_size=args.train_batch_size,
            accumulation=args.gradient_accumulation_steps,
            processes=args.world_size,
            process=args.process_index,
            seed=args.seed if args.data_seed is None else args.data_seed,
            strategy=args.train_sampling_strategy,
            lengths=_lengths(self.train_dataset) if args.train_sampling_strategy == "group_by_length" else None,
            drop_last=args.dataloader_drop_last,
        )
        if len(batches) == 0:
            raise UserError(f"train has {len(rows)} rows, too few for one step of {batches.step_size}.")
        collate = StandInCollator(self.data_collator, rows[0])
        return StepLoader(rows, batch_sampler=batches, collate_fn=collate, **self._loading())

    def _loading(self) -> dict:
        args = self.args
        return {
            "num_workers": args.dataloader_num_workers,
            "pin_memory": args.dataloader_pin_memory and torch.accelerator.is_available(),
            "persistent_workers": args.dataloader_persistent_workers,
            "prefetch_factor": args.dataloader_prefetch_factor,
            "multiprocessing_context": args.dataloader_multiprocessing_context,
            "worker_init_fn": partial(seed_worker, num_workers=args.dataloader_num_workers, rank=args.process_index),
        }

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """Collect the micro-batches of one optimizer step, and their total weight over all processes."""
        batches = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        total = torch.zeros((), dtype=torch.float64)
        for batch in batches:
            total += (self.weights_of(batch[LABELS]) * batch[COUNT]).sum(dtype=torch.float64)
        # float32 where the device has no float64, as Apple's has not
        total = total.to(device, dtype=torch.float32 if device.type == "mps" else torch.float64)
        return batches, self.accelerator.reduce(total, reduction="sum")

    # The loss of a step

    def weights_of(self, labels: Tensor) -> Tensor:
        """Return the weights `[batch]` of the examples with these labels: in the stock loss each counts the same."""
        return torch.ones(len(labels))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return this micro-batch's part of the step's loss, a scalar; `num_items_in_batch` is the step's weight."""
        counts = inputs[COUNT]
        if self.args.label_smoothing_factor:
            outputs = model(**_for_model(inputs))
            weighted_sum = (counts * self.losses_of(outputs.logits, inputs[LABELS])).sum()
        else:
            labels = inputs[LABELS]
            # torch's binary cross entropy takes the precision of the labels, not that of the logits.
            labels = labels.to(self.model.dtype) if labels.is_floating_point() else labels
            outputs = model(**_for_model(inputs), labels=labels)
            # A micro-batch is either all rows or all stand-in, so its mean times its count is its sum.
            weighted_sum = outputs.loss * counts.sum()
        loss = self._share(weighted_sum, num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def losses_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the per-example losses `[batch]` of logits `[batch, num_labels]`."""
        smoothing = {"label_smoothing": s} if (s := self.args.label_smoothing_factor) else {}
        return DEFAULT_LOSSES[self.problem_type](logits, labels, **smoothing)

    def _share(self, weighted_sum: Tensor, step_weight: Tensor) -> Tensor:
        # A step in which no example weighs anything has no gradient, rather than 0/0.
        step_weight = step_weight.clamp(min=torch.finfo(torch.float32).tiny).to(weighted_sum)
        # DDP takes the mean of the processes' gradients, and Trainer logs the mean of their losses.
        return weighted_sum / step_weight * self.accelerator.num_processes

    def training_step(self, model, inputs, num_items_in_batch=None):
        """As `Trainer.training_step`; the logged loss is added up in the precision of the loss."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._tr_loss = self._tr_loss.to(torch.promote_types(self._tr_loss.dtype, loss.dtype))
        return loss

    # Evaluation

    def get_eval_dataloader(self, eval_dataset=None) -> DataLoader:
        """Return this process's batches of the validation split, sorted by length."""
        return self._evaluation_loader(self.eval_dataset if eval_dataset is None else eval_dataset)

    def get_test_dataloader(self, test_dataset) -> DataLoader:
        """Return this process's batches of `test_dataset`, sorted by length."""
        return self._evaluation_loader(test_dataset)

    def _evaluation_loader(self, dataset) -> DataLoader:
        args = self.args
        batches = EvaluationBatches(
            _lengths(dataset), args.eval_batch_size, processes=args.world_size, process=args.process_index
        )
        rows = self._remove_unused_columns(dataset, description="evaluation")
        return DataLoader(rows, batch_sampler=batches, collate_fn=self.data_collator, **self._loading())

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Return no loss, logits and, as label_ids, `(row,)` or `(labels, row)`, so that rows can be put in order."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad():
            logits = model(**_for_model(inputs)).logits.detach()
        return None, logits, tuple(inputs[name] for name in (LABELS, ROW) if name in inputs)

    def _scores(self, prediction: EvalPrediction) -> dict:
        logits, labels = _in_order(prediction.predictions, prediction.label_ids)
        if labels is None:
            return {}
        if not np.isfinite(logits).all():
            raise UserError(
                f"after step {self.state.global_step:,} the model's logits are no finite numbers any more: lower "
                "--learning_rate, or raise --warmup_steps."
            )
        logits_and_labels = torch.from_numpy(logits).double(), torch.from_numpy(labels)
        weights = self.weights_of(logits_and_labels[1]).double()
        loss = (weights * self.losses_of(*logits_and_labels)).sum() / weights.sum()
        scores = {"loss": loss.item(), **scores_from_logits(logits, labels, self.problem_type)}
        if "per_label" in scores:
            scores["per_label"] = dict(zip(self.model.config.id2label.values(), scores["per_label"], strict=True))
        chosen_by = self.args.metric_for_best_model
        if self.is_in_train and self.args.load_best_model_at_end and chosen_by not in scores:
            raise UserError(
                f"--metric_for_best_model {chosen_by} is undefined on these validation rows, where a class is absent "
                f"or all predictions are the same: take another, such as {next(iter(CHOOSING[self.problem_type]))}."
            )
        return scores

    def log(self, logs, *args, **kwargs):
        """As `Trainer.log`, in single numbers, as trackers take them: each label's F1, and no confusion matrix."""
        flat = {}
        for name, value in logs.items():
            if name.endswith("per_label"):
                of_labels = value.items()
                flat |= {f"{name.removesuffix('per_label')}f1_of_{label}": s["f1"] for label, s in of_labels}
            elif not name.endswith("confusion_matrix"):
                flat[name] = value
        super().log(flat, *args, **kwargs)

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

    # Checkpoints

    def _save_checkpoint(self, model, trial):
        # Trainer removes old checkpoints before this one could be sealed: here only after.
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            seal(checkpoint_folder(self.args.output_dir, self.state.global_step))
            rotate_checkpoints(
                output_dir=self.args.output_dir,
                save_total_limit=limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
            )


class PerExampleTrainer(RecipeTrainer):
    """A `RecipeTrainer` for a model that returns logits alone, under a per-example loss.

    Args:
        loss: `(logits, labels) -> losses [batch]`, or a pair `(losses, weights)` whose weights depend on the labels
            alone, since the step's total weight must be known before its first forward pass.
        layer_decay: learning rate of a layer as a share of that of the layer above.
        head_learning_rate: of pooling, head and classifier; by default that of the encoder.

    Raises:
        UserError: the weights turn out to depend on the logits.
    """

    def __init__(self, *args, loss: Loss, layer_decay: float = 1.0, head_learning_rate: float | None = None, **kwargs):
        self.loss = loss
        self.layer_decay = layer_decay
        self.head_learning_rate = head_learning_rate
        super().__init__(*args, **kwargs)

    def create_optimizer(self, model=None):
        """As `Trainer.create_optimizer`, with a learning rate for each layer where that is asked for."""
        if self.optimizer is None and (self.layer_decay != 1.0 or self.head_learning_rate is not None):
            model = self.model if model is None else model
            groups = parameter_groups(
                model,
                self.args.learning_rate,
                self.args.weight_decay,
                set(self.get_decay_parameter_names(model)),
                self.layer_decay,
                self.head_learning_rate,
            )
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer = optimizer_class(groups, **options)
        return super().create_optimizer(model)

    def train(self, *args, **kwargs):
        """As `RecipeTrainer.train`; in the end what LoRA learned is a part of the encoder's weights."""
        output = super().train(*args, **kwargs)
        merge_lora(self.model)
        return output

    def weights_of(self, labels):
        """Return the weights `[batch]` that the loss gives to the examples with these labels."""
        logits = torch.zeros(len(labels), self.model.config.num_labels, device=labels.device)
        return losses_and_weights(self.loss, logits, labels)[1]

    def losses_of(self, logits, labels):
        """Return the per-example losses `[batch]` of logits `[batch, num_labels]`."""
        return losses_and_weights(self.loss, logits, labels)[0]

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """Return this micro-batch's part of the step's loss: the weighted sum of the per-example losses, shared."""
        labels = inputs[LABELS]
        passes = getattr(self.loss, "passes", 1)
        outputs = model(**{name: torch.cat([value] * passes) for name, value in _for_model(inputs).items()})
        logits = outputs.logits
        if passes > 1:
            logits = logits.view(passes, len(labels), -1).transpose(0, 1)
        losses, weights = losses_and_weights(self.loss, logits, labels)
        if self.state.global_step == 0 and not torch.allclose(weights, self.weights_of(labels).to(weights)):
            raise UserError("the loss weights examples by their logits: it may weight by the labels alone.")
        loss = self._share((inputs[COUNT] * weights * losses).sum(), num_items_in_batch)
        return (loss, outputs) if return_outputs else loss


def _for_model(inputs: dict) -> dict:
    return {name: value for name, value in inputs.items() if name not in (ROW, LABELS, COUNT)}


def _lengths(dataset) -> np.ndarray:
    return dataset.with_format("numpy")[LENGTH][:]


def _in_order(logits: np.ndarray, label_ids: tuple) -> tuple[np.ndarray, np.ndarray | None]:
    # np.unique also drops the rows that were repeated to fill the last batch of every process.
    _, order = np.unique(label_ids[-1], return_index=True)
    return logits[order], label_ids[0][order] if len(label_ids) == 2 else None
