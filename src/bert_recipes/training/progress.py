"""The progress of a training at the terminal."""

from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from bert_recipes.evaluation.titles import in_a_line
from bert_recipes.terminal import console, say


class TrainingProgress(TrainerCallback):
    """A bar with the loss while training, and a line for every evaluation."""

    def __init__(self) -> None:
        self.bar: Progress | None = None
        self.bar_task = TaskID(0)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar."""
        if state.global_step:
            say(f"Going on from step {state.global_step:,} of {state.max_steps:,}.")
        if args.disable_tqdm or not state.is_world_process_zero:
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self.bar = Progress(*columns, TextColumn("steps,"), TimeRemainingColumn(), console=console, transient=True)
        self.bar_task = self.bar.add_task("training", total=state.max_steps, completed=state.global_step)
        self.bar.start()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Move the bar."""
        if self.bar:
            self.bar.update(self.bar_task, completed=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show the loss beside the bar."""
        if self.bar and logs and "loss" in logs:
            self.bar.update(self.bar_task, description=f"loss {logs['loss']:.4f}")

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Print the scores on the validation split."""
        scores = in_a_line(metrics or {}, ("accuracy", "f1", "pearson", "spearman", "loss"), prefix="eval_")
        say(f"epoch {state.epoch:.4g}, step {state.global_step:,}: validation {scores}")

    def close(self) -> None:
        """Close the bar, however the training ended."""
        if self.bar:
            self.bar.stop()
            self.bar = None
