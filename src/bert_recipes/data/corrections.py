"""Corrected labels, laid over the data: a file of ids and labels, as one who has read an audit leaves it."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import DatasetDict

from bert_recipes.columns import ID, LABEL, LABELS
from bert_recipes.data.cells import as_number, id_text, with_decimal_point
from bert_recipes.data.readers import open_table
from bert_recipes.data.splits import column
from bert_recipes.data.text_files import TextFormat
from bert_recipes.errors import UserError, some
from bert_recipes.evaluation.decoding import JOINT
from bert_recipes.task import REGRESSION, SINGLE_LABEL, Task

SPLIT = "split"


@dataclass(frozen=True)
class Corrections:
    """What a file of corrections changed.

    Attributes:
        file: that was read.
        changed: how many rows of each split have another label now.
        same: how many of its rows say what the data says.
        labels_before: those of train as they came, `[rows]` or `[rows, num_labels]`. By these rows are dealt to splits
            and folds, so that runs before and after a correction are validated on the same rows.
    """

    file: str
    changed: dict[str, int]
    same: int
    labels_before: np.ndarray

    @property
    def note(self) -> str:
        """What was changed, as a sentence."""
        changed = ", ".join(f"{count:,} of {split}" for split, count in self.changed.items()) or "none"
        more = f" ({self.same:,} of its rows say what the data says)" if self.same else ""
        return f"Labels that {self.file} changes: {changed}{more}."


def correct(
    splits: DatasetDict, task: Task, file: str, text_format: TextFormat, decimal: str = "."
) -> tuple[DatasetDict, Corrections]:
    """Return the splits with the labels that a file gives in the place of their own.

    Args:
        splits: checked, with ids.
        task: of the data.
        file: with a column `id` and a column `label`, spelt as in predictions.csv, and perhaps `split`, which an id
            needs that stands in several; other columns are left alone.
        text_format: of the data's files, if this one is written as they are.
        decimal: mark of numbers in labels.

    Raises:
        UserError: the file cannot be read or lacks a column; an id of it is unknown, in several splits, had by several
            rows or given twice; or a label is none of the data's.
    """
    ids = {split: rows[ID][:] for split, rows in splits.items()}
    rows_of = {split: {name: row for row, name in enumerate(names)} for split, names in ids.items()}
    repeated = {split: {name for name, n in Counter(names).items() if n > 1} for split, names in ids.items()}
    new: dict[str, dict[int, Any]] = {}
    for split, name, cell in _read(file, text_format):
        found = [s for s, rows in rows_of.items() if name in rows and split in ("", s)]
        # Where rows have no ids but their numbers, those of a test split are numbered from 0 too.
        found = [s for s in found if LABELS in splits[s].column_names] or found
        if len(found) != 1:
            problem = f"stands in {' and '.join(found)}: add a column 'split'"
            if not found:
                problem = f"is none of {split or 'the data'}'s: correct or remove it"
            raise UserError(f"{file}: the id '{name}' {problem}.")
        if name in repeated[found[0]]:
            raise UserError(f"{file}: several rows of {found[0]} have the id '{name}': make their ids unique first.")
        if LABELS not in splits[found[0]].column_names:
            raise UserError(f"{file}: the id '{name}' is one of {found[0]}, which has no labels to correct.")
        given = new.setdefault(found[0], {})
        if rows_of[found[0]][name] in given:
            raise UserError(f"{file}: the id '{name}' stands there twice: keep one of its rows.")
        cell = with_decimal_point(cell) if decimal == "," else cell
        given[rows_of[found[0]][name]] = _label(cell, task, f"{file}: the id '{name}'")
    corrected, changed = dict(splits), {}
    for split, given in new.items():
        rows = splits[split]
        labels = rows[LABELS][:]
        changed[split] = sum(labels[row] != label for row, label in given.items())
        for row, label in given.items():
            labels[row] = label
        features = rows.features[LABELS]
        corrected[split] = rows.remove_columns(LABELS).add_column(LABELS, labels, feature=features)
    total = sum(len(given) for given in new.values())
    before = column(splits["train"], LABELS)
    return DatasetDict(corrected), Corrections(file, changed, total - sum(changed.values()), before)


def _read(file: str, text_format: TextFormat) -> list[tuple[str, str, str]]:
    """Return split, id and label of each row; the split is empty where none is given."""
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(f"--corrections {file}: there is no such file.")
    try:
        table = open_table(path, TextFormat(text_format.encoding))
    except UserError:
        # It may be written as the data is.
        table = open_table(path, replace(text_format, header=True))
    if lacking := [name for name in (ID, LABEL) if name not in table.schema.names]:
        raise UserError(f"{file} has no column {some(lacking)}: corrections have an id and a label.")
    names = [name for name in (SPLIT, ID, LABEL) if name in table.schema.names]
    rows = []
    for batch in table.batches():
        for row in batch.select(names).to_pylist():
            split, name, label = (id_text("" if row.get(n) is None else row[n]) for n in (SPLIT, ID, LABEL))
            rows.append((split, name, label))
    return rows


def _label(cell: str, task: Task, where: str) -> Any:
    if task.problem_type == REGRESSION:
        values = [as_number(part) for part in cell.split(JOINT)]
        if None in values or len(values) != task.num_labels or not np.isfinite(values).all():  # type: ignore[arg-type]
            raise UserError(f"{where} has '{cell}' for a label, and the data has {task.num_labels} numbers.")
        return values
    held = [part for part in ([cell] if task.problem_type == SINGLE_LABEL else cell.split(JOINT)) if part]
    unknown = [part for part in held if part not in task.label2id]
    if unknown or (task.problem_type == SINGLE_LABEL and not held):
        raise UserError(f"{where} has the label '{cell}', and the data has {some(task.label_names)}.")
    if task.problem_type == SINGLE_LABEL:
        return task.label2id[cell]
    return [float(name in held) for name in task.label_names]
