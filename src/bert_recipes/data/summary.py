"""What was read, at the terminal."""

from collections.abc import Sequence

import numpy as np
from datasets import Dataset, DatasetDict
from rich.table import Table

from bert_recipes.columns import LABELS, LENGTH, NUM_WINDOWS, TRUNCATED
from bert_recipes.data.loading import TextData
from bert_recipes.data.splits import column
from bert_recipes.errors import some
from bert_recipes.task import MULTI_LABEL, REGRESSION, Task
from bert_recipes.terminal import as_markup, console, say


def show_data(data: TextData, tokenized: DatasetDict) -> None:
    """Print what was read: rows, columns, label balance, lengths in tokens and in windows, share truncated."""
    columns = data.columns
    parts: dict[str, Sequence[str | None]] = {
        "text": columns.text,
        "second text": [columns.text_pair],
        "label": columns.label,
        "id": [columns.id],
    }
    quoted = {part: [f"'{name}'" for name in names if name is not None] for part, names in parts.items()}
    found = ", ".join(f"{part} in {some(names)}" for part, names in quoted.items() if names)
    console.print(f"[bold]{as_markup(data.source)}[/bold]: {as_markup(found)}")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("")
    counted = LENGTH in tokenized["train"].column_names  # the baseline knows no tokens
    in_windows = NUM_WINDOWS in tokenized["train"].column_names
    windows = ("windows",) if in_windows else ()
    for name in ("rows", "labels", *(("tokens (mean, most)", *windows, "truncated") if counted else ())):
        table.add_column(name, justify="left" if name == "labels" else "right")
    for split, rows in tokenized.items():
        cells = [split, f"{len(rows):,}", as_markup(_balance(rows, data.task))]
        if counted:
            lengths = column(rows, LENGTH)
            cells.append(f"{lengths.mean():.0f}, {lengths.max()}")
            if in_windows:
                counts = column(rows, NUM_WINDOWS)
                cells.append(f"{counts.mean():.1f}, {counts.max()}")
            cells.append(f"{column(rows, TRUNCATED).mean():.1%}")
        table.add_row(*cells)
    console.print(table)
    for note in data.notes:
        say(note, style="dim")


def _balance(rows: Dataset, task: Task) -> str:
    if LABELS not in rows.column_names:
        return "none"
    labels = column(rows, LABELS)
    if task.problem_type == REGRESSION:
        shown = [
            f"{name} {target.mean():.4g} ± {target.std():.3g}"
            for name, target in zip(task.label_names, labels.T, strict=True)
        ]
    else:
        counts = (
            labels.sum(axis=0) if task.problem_type == MULTI_LABEL else np.bincount(labels, minlength=task.num_labels)
        )
        shown = [f"{name} {count / len(rows):.0%}" for name, count in zip(task.label_names, counts, strict=True)]
    return ", ".join(shown) if len(shown) <= 6 else f"{', '.join(shown[:5])} and {len(shown) - 5} more"
