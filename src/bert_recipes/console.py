"""What a run says at the terminal. Only the main process speaks."""

import logging
import os
import re

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from transformers import TrainerCallback
from transformers.utils import logging as transformers_logging

from bert_recipes.data import column
from bert_recipes.labels import MULTI_LABEL, REGRESSION

console = Console(quiet=int(os.environ.get("RANK", "0")) > 0, highlight=False)

# The scores that are shown, where the task has them.
SHOWN = {
    "accuracy": "accuracy",
    "f1": "F1",
    "f1_macro": "macro F1",
    "precision": "precision",
    "recall": "recall",
    "roc_auc": "ROC AUC",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "r2": "R²",
    "mae": "mean abs. error",
    "mse": "mean sq. error",
}


def quiet_libraries() -> None:
    """Keep back what a user cannot act on: bars of a second's work, and a report of the weights that are to be new."""
    transformers_logging.disable_progress_bar()
    logging.getLogger("transformers.modeling_utils").addFilter(_tells_more_than_a_new_head)


def _tells_more_than_a_new_head(record: logging.LogRecord) -> bool:
    """Whether a report on loaded weights has something to act on: a new head is what fine-tuning is about."""
    message = record.getMessage()
    if "LOAD REPORT" not in message:
        return True
    missing = [line.split("|")[0] for line in message.splitlines() if "| MISSING" in line]
    return "MISMATCH" in message or any(not re.search(r"classifier|pooler|score|head", name) for name in missing)


def say(text: str, style: str | None = None) -> None:
    """Print `text` as it is, unless this is not the main process."""
    console.print(text, style=style, markup=False)


def warn(text: str) -> None:
    """Print a warning, unless this is not the main process."""
    console.print(f"[yellow]warning:[/yellow] {escape(text)}")


def show_data(data, tokenized) -> None:
    """Print what was read: rows, columns, label balance, lengths in tokens and how many texts were cut."""
    columns = data.columns
    label = "', '".join(columns.label)
    parts = {"text": columns.text, "second text": columns.text_pair, "label": label, "id": columns.id}
    found = ", ".join(f"{part} in '{name}'" for part, name in parts.items() if name)
    console.print(f"[bold]{escape(data.source)}[/bold]: {escape(found)}")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    counted = "length" in tokenized["train"].column_names  # the baseline knows no tokens
    for name in ("rows", "labels", *(("tokens (mean, most)", "truncated") if counted else ())):
        table.add_column(name, justify="left" if name == "labels" else "right")
    for split, rows in tokenized.items():
        cells = [split, f"{len(rows):,}", escape(_balance(rows, data.labels))]
        if counted:
            lengths = column(rows, "length")
            cells += [f"{lengths.mean():.0f}, {lengths.max()}", f"{column(rows, 'truncated').mean():.1%}"]
        table.add_row(*cells)
    console.print(table)
    for note in data.notes:
        say(note, style="dim")


def _balance(rows, labels) -> str:
    if "labels" not in rows.column_names:
        return "none"
    if labels.problem_type == REGRESSION:
        values = column(rows, "labels")
        shown = [
            f"{name} {target.mean():.4g} ± {target.std():.3g}"
            for name, target in zip(labels.names, values.T, strict=True)
        ]
    else:
        counts = (
            column(rows, "labels").sum(axis=0)
            if labels.problem_type == MULTI_LABEL
            else np.bincount(column(rows, "labels"), minlength=len(labels.names))
        )
        shown = [f"{name} {count / len(rows):.0%}" for name, count in zip(labels.names, counts, strict=True)]
    return ", ".join(shown) if len(shown) <= 6 else f"{', '.join(shown[:5])} and {len(shown) - 5} more"


def scores_table(scores: dict) -> list[list[str]]:
    """Return a header and one row for each split that has scores, validation first."""
    splits = [split for split in ("validation", "test") if split in scores]
    shown = {key: title for key, title in SHOWN.items() if any(key in scores[split] for split in splits)}
    rows = [["" if (cell := scores[split].get(key)) is None else f"{cell:.4f}" for key in shown] for split in splits]
    return [["split", *shown.values()], *([split, *row] for split, row in zip(splits, rows, strict=True))]


def show_scores(title: str, scores: dict) -> None:
    """Print the scores of the splits that have any."""
    header, *rows = scores_table(scores)
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for name in header[1:]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


class TrainingProgress(TrainerCallback):
    """A bar with the loss while training, and a line for every evaluation."""

    def __init__(self):
        self.bar = None
        self.task = None

    def on_train_begin(self, args, state, control, **kwargs):
        """Open the bar."""
        if state.global_step:
            say(f"Going on from step {state.global_step:,} of {state.max_steps:,}.")
        if args.disable_tqdm or not state.is_world_process_zero:
            return
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self.bar = Progress(*columns, TextColumn("steps,"), TimeRemainingColumn(), console=console, transient=True)
        self.task = self.bar.add_task("training", total=state.max_steps, completed=state.global_step)
        self.bar.start()

    def on_step_end(self, args, state, control, **kwargs):
        """Move the bar."""
        if self.bar:
            self.bar.update(self.task, completed=state.global_step)

    def on_log(self, args, state, control, logs=None, **kwargs):
        """Show the loss beside the bar."""
        if self.bar and "loss" in logs:
            self.bar.update(self.task, description=f"loss {logs['loss']:.4f}")

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        """Print the scores on the validation split."""
        shown = {"accuracy": "accuracy", "f1": "F1", "pearson": "Pearson", "spearman": "Spearman", "loss": "loss"}
        there = {label: metrics[f"eval_{name}"] for name, label in shown.items() if f"eval_{name}" in metrics}
        scores = ", ".join(f"{label} {score:.4f}" for label, score in there.items())
        say(f"epoch {state.epoch:.4g}, step {state.global_step:,}: validation {scores}")

    def close(self) -> None:
        """Close the bar, however the training ended."""
        if self.bar:
            self.bar.stop()
            self.bar = None
