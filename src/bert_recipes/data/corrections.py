"""Corrected labels, laid over the data: a file of ids and labels, as one who has read an audit leaves it."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from datasets import DatasetDict

from bert_recipes.columns import ID, LABEL, LABELS
from bert_recipes.data.cells import as_number, id_text, with_decimal_point
from bert_recipes.data.delimited import USUAL_DELIMITERS
from bert_recipes.data.label_cells import as_list, as_text
from bert_recipes.data.readers import TableFile, open_table
from bert_recipes.data.splits import column
from bert_recipes.data.text_files import TextFormat, encoding_of
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
        if split and split not in splits:
            raise UserError(
                f"{file}: the split '{split}' of the id '{name}' is none of the data's: {some([*splits])}."
            )
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
        given[rows_of[found[0]][name]] = _label(cell, task, decimal, f"{file}: the id '{name}'")
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
    table = _open(path, text_format)
    names = [name for name in (SPLIT, ID, LABEL) if name in table.schema.names]
    rows = []
    for batch in table.batches():
        for row in batch.select(names).to_pylist():
            split, name, label = (id_text("" if row.get(n) is None else row[n]) for n in (SPLIT, ID, LABEL))
            rows.append((split, name, label))
    return rows


def _open(path: Path, text_format: TextFormat) -> TableFile:
    """Open a file of corrections, which need not be written as the data is: the page of an audit writes UTF-8.

    Raises:
        UserError: it cannot be read, or has no ids or no labels.
    """
    try:
        encoding = encoding_of(path, "utf-8")
    except (UserError, OSError):  # of which open_table says more
        encoding = text_format.encoding
    # A spreadsheet saves with the delimiter of its country.
    others = [TextFormat(encoding, delimiter) for delimiter in USUAL_DELIMITERS]
    failed: list[UserError] = []
    for one in (TextFormat(encoding), replace(text_format, encoding=encoding, header=True), *others):
        try:
            table = open_table(path, one)
        except UserError as error:
            failed.append(error)
            continue
        there = table.schema.names
        if not (missing := [name for name in (ID, LABEL) if name not in there]):
            return table
        lacks = f"has no column {some(missing)}, and corrections have an id and a label: it has {some(there)}"
        # Read with the wrong delimiter anything is one column.
        failed.insert(0 if len(there) > 1 else len(failed), UserError(f"{path} {lacks}."))
    raise failed[0]


def _label(cell: str, task: Task, decimal: str, where: str) -> Any:
    """Return the label that a cell spells out, by the rules by which the data's cells are read."""
    if task.problem_type == SINGLE_LABEL:
        if (name := as_text(cell)) in task.label2id:
            return task.label2id[name]
        raise UserError(f"{where} has the label '{cell}', and the data has {some(task.label_names)}.")
    # As predictions.csv joins them, or as the data may.
    mark = JOINT if JOINT in cell or not task.delimiter else task.delimiter
    listed = as_list(cell)
    parts = cell.split(mark) if listed is None else listed
    if task.problem_type == REGRESSION:
        values = [as_number(with_decimal_point(part) if decimal == "," else part) for part in parts]
        if None in values or len(values) != task.num_labels:
            raise UserError(f"{where} has '{cell}' for a label, and the data has {task.num_labels} numbers.")
        return values
    held = {text for part in parts if (text := as_text(part))}
    if held - task.label2id.keys():
        raise UserError(f"{where} has the label '{cell}', and the data has {some(task.label_names)}.")
    return [float(name in held) for name in task.label_names]
