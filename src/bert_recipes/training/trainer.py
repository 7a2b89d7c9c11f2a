"""One place that averages: the loss of an optimizer step over all its micro-batches and processes.

`Trainer` divides by a number of items that `BertForSequenceClassification` never uses, so the stock model's loss
grows with gradient accumulation and with the number of processes. Here the step's loss is
`sum(w_i * l_i) / sum(w_i)` over every example of the step, however it is cut.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DataCollatorWithPadding, PreTrainedModel, PrinterCallback
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.trainer_utils import TrainOutput, rotate_checkpoints

from bert_recipes.columns import COUNT, LABELS, NUM_WINDOWS
from bert_recipes.errors import UserError
from bert_recipes.files import read_json, write_json
from bert_recipes.modeling import cpu_kernels
from bert_recipes.modeling.building import merge_lora
from bert_recipes.modeling.losses import DEFAULT_LOSSES, Loss, losses_and_weights
from bert_recipes.modeling.own_code import failing_in_a_sentence
from bert_recipes.training.batches import StandInCollator, StepBatches, StepLoader
from bert_recipes.training.callbacks import own_callbacks, restore_states
from bert_recipes.training.checkpoints import TOTAL_LOSS, LogWithSave, StopOnSignal, checkpoint_folder, seal
from bert_recipes.training.cuda_graphs import MASK, EncoderGraphs, why_not
from bert_recipes.training.early_stopping import EarlyStopping
from bert_recipes.training.evaluating import EvaluatingTrainer, lengths_of, outputs_of
from bert_recipes.training.layer_rates import parameter_groups
from bert_recipes.training.loss_scaling import lower_scale, overflows
from bert_recipes.training.progress import TrainingProgress
from bert_recipes.training.sharding import sharded_classes
from bert_recipes.training.trackers import tracked


class RecipeTrainer(EvaluatingTrainer):
    """A `Trainer` whose steps do not depend on how they are cut and whose predictions come in the rows' order.

    The model computes its own loss, a mean over the batch, as `AutoModelForSequenceClassification` does; this class
    turns it back into a sum and divides by the rows of the whole optimizer step.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # compute_loss divides by the whole step itself, so Trainer must not divide by the micro-batches again
        # (loss_is_scaled_for_ga says so since transformers 5.2x, the other one before).
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True
        self.remove_callback(DEFAULT_PROGRESS_CALLBACK)  # another one in a notebook
        self.remove_callback(PrinterCallback)
        self.total_loss_before = 0.0
        self.step_batches: list[dict[str, Any]] = []
        self.graphs: EncoderGraphs | None = None
        self._replays()
        self.progress, self.signals = TrainingProgress(), StopOnSignal()
        for callback in (self.signals, LogWithSave(), self.progress):
            self.add_callback(callback)
        patience = getattr(self.args, "early_stopping_patience", None)
        threshold = getattr(self.args, "early_stopping_threshold", 0.0)
        self.early_stopping = EarlyStopping(patience, threshold) if patience else None
        for own in [*([self.early_stopping] if self.early_stopping else []), *own_callbacks(self.args)]:
            self.add_callback(own)
        if self.is_fsdp_enabled:
            self.model._no_split_modules = sharded_classes(self.model)
        if self.args.device.type == "cpu":
            cpu_kernels.quicken(self.model)
        elif isinstance(self.data_collator, DataCollatorWithPadding) and self.data_collator.pad_to_multiple_of is None:
            # Tensor cores take lengths that are multiples of 8.
            self.data_collator.pad_to_multiple_of = 8

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """As `Trainer.train`; the terminal and the signals are given back however it ends."""
        total_loss = Path(str(resume_from_checkpoint)) / TOTAL_LOSS
        self.total_loss_before = read_json(total_loss)["total_loss"] if total_loss.is_file() else 0.0
        try:
            with failing_in_a_sentence(), tracked(self.args, self.callback_handler, bool(resume_from_checkpoint)):
                return super().train(resume_from_checkpoint, *args, **kwargs)
        finally:
            if self.graphs:
                self.graphs.close()
                self.graphs = None
            self.progress.close()
            self.signals.close()

    def _load_callback_state(self) -> None:
        # Trainer's own puts new callbacks in the place of these, and a signal's request to stop in force again.
        restore_states(self.callback_handler.callbacks, self.state)

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if self.graphs is None and self._replays():
            self.graphs = EncoderGraphs(cast(PreTrainedModel, self.model.base_model))
        self._total_loss_scalar += self.total_loss_before
        self.total_loss_before = 0.0
        # Trainer looks whether the steps are done after a step, and would make one more.
        if self.state.global_step >= self.state.max_steps or (self.early_stopping and self.early_stopping.is_over):
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)

    def _replays(self) -> bool:
        asked = getattr(self.args, "cuda_graphs", False)
        reason = why_not(self.model, self.args, self.accelerator.distributed_type) if asked is not False else ""
        if asked and reason:
            raise UserError(f"--cuda_graphs true cannot be honoured: {reason}.")
        return asked is not False and not reason

    def log(self, logs: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """As `EvaluatingTrainer.log`; the loss of a training is that of all its steps, not of the last start's."""
        if "train_loss" in logs:
            # The second one is left where no epoch was begun, since all were done.
            total = self._total_loss_scalar + self.total_loss_before
            logs["train_loss"] = total / max(self.state.global_step, 0.001)
        super().log(logs, *args, **kwargs)

    # The rows of a step

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
            lengths=lengths_of(self.train_dataset) if args.train_sampling_strategy == "group_by_length" else None,
            drop_last=args.dataloader_drop_last,
        )
        if len(batches) == 0:
            raise UserError(f"train has {len(rows)} rows, too few for one step of {batches.step_size}.")
        collate = StandInCollator(self.data_collator, rows[0])
        return StepLoader(rows, batch_sampler=batches, collate_fn=collate, **self._loading())

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Collect the micro-batches of one optimizer step, and their total weight over all processes."""
        batches = [batch for _, batch in zip(range(num_batches), epoch_iterator, strict=False)]
        self.step_batches = batches
        total = torch.zeros((), dtype=torch.float64)
        for batch in batches:
            total += (self.weights_of(batch[LABELS]) * batch[COUNT]).sum(dtype=torch.float64)
        # float32 where the device has no float64, as Apple's has not
        total = total.to(torch.float32 if device.type == "mps" else torch.float64)
        total = _sent(total.pin_memory() if device.type == "cuda" else total, device).to(device)
        return batches, self.accelerator.reduce(total, reduction="sum")

    # The loss of a step

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return this micro-batch's part of the step's loss, a scalar; `num_items_in_batch` is the step's weight."""
        counts = inputs[COUNT]
        if self.args.label_smoothing_factor or NUM_WINDOWS in inputs:
            # The model's own loss smooths nothing, and knows a window for a text.
            outputs = outputs_of(model, inputs)
            weighted_sum = (counts * self.losses_of(outputs.logits, inputs[LABELS])).sum()
        else:
            labels = inputs[LABELS]
            # torch's binary cross entropy takes the precision of the labels, not that of the logits.
            labels = labels.to(self.model.dtype) if labels.is_floating_point() else labels
            outputs = outputs_of(model, inputs, labels=labels)
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

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        if self.graphs and MASK in inputs:
            self.graphs.padded = not inputs[MASK].all()  # still in the processor's memory
        return super()._prepare_inputs({name: _sent(value, self.args.device) for name, value in inputs.items()})

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """As `Trainer.training_step`; the logged loss is added up in the precision of the loss."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        self._tr_loss = self._tr_loss.to(torch.promote_types(self._tr_loss.dtype, loss.dtype))
        scaler = self.accelerator.scaler
        if scaler is not None and self.accelerator.sync_gradients:
            while overflows(model, self.accelerator):
                lower_scale(scaler, self.state.global_step + 1)
                self._repeat_step(model, num_items_in_batch)
        return loss

    def _repeat_step(self, model: nn.Module, num_items_in_batch: Any) -> None:
        """Compute the gradients of the whole step once more."""
        model.zero_grad()
        *first, last = self.step_batches
        for batch in first:
            with self.accelerator.no_sync(model):
                super().training_step(model, batch, num_items_in_batch)
        super().training_step(model, last, num_items_in_batch)

    # Checkpoints

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        # Trainer removes old checkpoints before this one could be sealed: here only after.
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.args.save_total_limit = limit
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            checkpoint = checkpoint_folder(self.args, self.state.global_step)
            # All of it is in that sum: what is saved has been logged (LogWithSave).
            write_json(checkpoint / TOTAL_LOSS, {"total_loss": self._total_loss_scalar})
            seal(checkpoint)
            rotate_checkpoints(
                output_dir=str(checkpoint.parent),
                save_total_limit=limit,
                best_model_checkpoint=self.state.best_model_checkpoint,
            )


def _sent(value: Any, device: torch.device) -> Any:
    """Begin to copy a tensor to a GPU, where its memory allows that without waiting for what the GPU still does."""
    if device.type == "cuda" and isinstance(value, Tensor) and value.is_pinned():
        return value.to(device, non_blocking=True)
    return value


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

    def __init__(
        self,
        *args: Any,
        loss: Loss,
        layer_decay: float = 1.0,
        head_learning_rate: float | None = None,
        **kwargs: Any,
    ) -> None:
        self.loss = loss
        self.layer_decay = layer_decay
        self.head_learning_rate = head_learning_rate
        super().__init__(*args, **kwargs)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
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

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """As `RecipeTrainer.train`; in the end what LoRA learned is a part of the encoder's weights."""
        output = super().train(*args, **kwargs)
        merge_lora(self.model)
        return output

    def weights_of(self, labels: Tensor) -> Tensor:
        """Return the weights `[batch]` that the loss gives to the examples with these labels."""
        logits = torch.zeros(len(labels), len(self.model.config.id2label or ()), device=labels.device)
        return losses_and_weights(self.loss, logits, labels)[1]

    def losses_of(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the per-example losses `[batch]` of logits `[batch, num_labels]`."""
        return losses_and_weights(self.loss, logits, labels)[0]

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Return this micro-batch's part of the step's loss: the weighted sum of the per-example losses, shared."""
        labels = inputs[LABELS]
        passes = getattr(self.loss, "passes", 1)
        outputs = outputs_of(model, inputs, passes)
        logits = outputs.logits
        if passes > 1:
            logits = logits.view(passes, len(labels), -1).transpose(0, 1)
        losses, weights = losses_and_weights(self.loss, logits, labels)
        if self.state.global_step == 0 and not torch.allclose(weights, self.weights_of(labels).to(weights)):
            raise UserError("the loss weights examples by their logits: it may weight by the labels alone.")
        loss = self._share((inputs[COUNT] * weights * losses).sum(), num_items_in_batch)
        return (loss, outputs) if return_outputs else loss
