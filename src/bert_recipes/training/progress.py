"""The progress of a training, at the terminal or in a notebook."""

import time
from html import escape
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from bert_recipes.evaluation.titles import in_a_line
from bert_recipes.terminal import console, in_notebook, say


class TerminalBar:
    """A bar in the last line of the terminal.

    Args:
        total: steps in all.
        completed: steps that are done already.
    """

    def __init__(self, total: int, completed: int):
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(*columns, TextColumn("steps,"), TimeRemainingColumn(), console=console, transient=True)
        self._task = self._bar.add_task("training", total=total, completed=completed)
        self._bar.start()

    def move(self, completed: int) -> None:
        """Show how many steps are done."""
        self._bar.update(self._task, completed=completed)

    def describe(self, text: str) -> None:
        """Show a text beside the bar."""
        self._bar.update(self._task, description=text)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.stop()


class NotebookBar:
    """A bar below a cell, drawn by the browser; it needs no widgets.

    Args:
        total: steps in all.
        completed: steps that are done already.
    """

    EVERY = 0.5  # seconds between two drawings

    def __init__(self, total: int, completed: int):
        from IPython.display import HTML, display

        self._html = HTML
        self._total, self._completed, self._text = total, completed, "training"
        self._first, self._started = completed, time.monotonic()
        self._drawn = self._started
        self._shown = display(HTML(self._drawing()), display_id=True)

    def _drawing(self) -> str:
        done, seconds = self._completed - self._first, time.monotonic() - self._started
        left = f", {seconds / done * (self._total - self._completed):,.0f} s left" if done else ""
        bar = f'<progress value="{self._completed}" max="{self._total}" style="width: 20em"></progress>'
        return f"<div>{bar} {self._completed:,}/{self._total:,} steps{left} · {escape(self._text)}</div>"

    def _draw(self) -> None:
        if time.monotonic() - self._drawn >= self.EVERY:
            self._drawn = time.monotonic()
            self._shown.update(self._html(self._drawing()))

    def move(self, completed: int) -> None:
        """Show how many steps are done."""
        self._completed = completed
        self._draw()

    def describe(self, text: str) -> None:
        """Show a text beside the bar."""
        self._text = text
        self._draw()

    def close(self) -> None:
        """Remove the bar."""
        self._shown.update(self._html(""))


class TrainingProgress(TrainerCallback):
    """A bar with the loss while training, and a line for every evaluation."""

    def __init__(self) -> None:
        self.bar: TerminalBar | NotebookBar | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar."""
        if state.global_step:
            say(f"Going on from step {state.global_step:,} of {state.max_steps:,}.")
        if args.disable_tqdm or not state.is_world_process_zero:
            return
        self.bar = (NotebookBar if in_notebook() else TerminalBar)(state.max_steps, state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Move the bar."""
        if self.bar:
            self.bar.move(state.global_step)

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
            self.bar.describe(f"loss {logs['loss']:.4f}")

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
            self.bar.close()
            self.bar = None
