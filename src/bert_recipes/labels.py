"""What the labels ask for: the task, the names of the labels, and every label cell as numbers.

The task is decided here, once, from the data and the flags; models, losses and metrics read it from the
configuration as `problem_type` and never from the dtype of a batch.
"""

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from datasets import Dataset
from scipy.special import expit, softmax

from bert_recipes.errors import UserError

SINGLE_LABEL, MULTI_LABEL, REGRESSION = (
    "single_label_classification",
    "multi_label_classification",
    "regression",
)
# The tasks, and what transformers calls them in `config.problem_type`.
PROBLEM_TYPES = {
    "binary": SINGLE_LABEL,
    "multi-class": SINGLE_LABEL,
    "multi-label": MULTI_LABEL,
    "regression": REGRESSION,
}
DELIMITERS = ("|", ";", ",")


@dataclass(frozen=True)
class Where:
    """Where the rows at hand come from, for the sentence of an error."""

    rows: Dataset
    split: str
    source: str
    id_column: str | None

    def which(self, numbers) -> str:
        """Name the rows with these numbers by their ids, or by the numbers where there is no id column."""
        numbers = np.asarray(numbers)
        if self.id_column is None:
            found = f"number {some(numbers.tolist())}, counted from 0"
        else:
            found = f"id {some(self.rows.select(numbers[:6])[self.id_column][:], len(numbers))}"
        return f"{len(numbers)} row{'s' if len(numbers) > 1 else ''} ({found})"


@dataclass(frozen=True)
class Labels:
    """The labels of a data set.

    Args:
        task: `binary`, `multi-class`, `multi-label` or `regression`.
        names: of the labels in the order of the logits; of the targets of a regression.
        columns: the columns that hold them: one, or one per label or target.
        delimiter: between the labels of one cell, where the cells of a multi-label column are joined texts.
        multi_hot: whether the cells of a multi-label column are lists of 0 and 1, one for each label.
    """

    task: str
    names: list[str]
    columns: list[str]
    delimiter: str | None = None
    multi_hot: bool = False

    @property
    def problem_type(self) -> str:
        """What transformers calls the task, for the model's configuration."""
        return PROBLEM_TYPES[self.task]

    @property
    def id2label(self) -> dict[int, str]:
        """Class ids to label names."""
        return dict(enumerate(self.names))

    @property
    def label2id(self) -> dict[str, int]:
        """Label names to class ids."""
        return {name: i for i, name in enumerate(self.names)}

    def encoder(self, where: Where) -> Callable[[dict, list[int]], list] | None:
        """Return a function from a batch of cells and their row numbers to labels, or None for a split without any.

        Labels are class ids where one label holds, and lists of one float per label or target otherwise.

        Raises:
            UserError: now or from the function: a label that train never saw, an empty cell or one that does not
                parse.
        """
        there = [column for column in self.columns if column in where.rows.column_names]
        if where.split == "test" and (len(there) < len(self.columns) or all(_all_empty(where, c) for c in there)):
            return None
        if self.task == "multi-label" and len(self.columns) == 1 and not self.multi_hot:
            return self._multi_label_encoder(where)
        if self.problem_type == SINGLE_LABEL:
            return self._class_encoder(where)
        return self._numbers_encoder(where)

    def _class_encoder(self, where: Where):
        column = self.columns[0]
        feature = where.rows.features[column]
        cells = where.rows.unique(column)
        _refuse_empty(where, column)
        texts = [_class_text(cell, feature) for cell in cells]
        unknown = sorted(set(texts) - set(self.names))
        if unknown:
            raise UserError(
                f"{where.source}: {where.split} has labels that train never saw: {some(unknown)}; train has "
                f"{', '.join(self.names)}."
            )
        class_of = {cell: self.names.index(text) for cell, text in zip(cells, texts, strict=True)}
        return lambda batch, numbers: [class_of[cell] for cell in batch[column]]

    def _multi_label_encoder(self, where: Where):
        column = self.columns[0]
        feature = where.rows.features[column]
        class_of = self.label2id

        def encode(batch, numbers):
            out = []
            for cell, number in zip(batch[column], numbers, strict=True):
                row = [0.0] * len(self.names)
                for name in _parts(cell, self.delimiter, feature, where, column, number):
                    if name not in class_of:
                        raise UserError(
                            f"{where.source}: {where.split} has a label that train never saw, '{name}' in "
                            f"{where.which([number])}; train has {', '.join(self.names)}."
                        )
                    row[class_of[name]] = 1.0
                out.append(row)
            return out

        return encode

    def _numbers_encoder(self, where: Where):
        for column in self.columns:
            _refuse_empty(where, column)

        def encode(batch, numbers):
            cells = zip(*(batch[column] for column in self.columns), strict=True)
            rows = [
                self._listed(row[0], where, number) if len(row) == 1 else row
                for row, number in zip(cells, numbers, strict=True)
            ]
            return [
                [self._number(cell, where, number) for cell in self._of_right_length(row, where, number)]
                for row, number in zip(rows, numbers, strict=True)
            ]

        return encode

    def _listed(self, cell, where: Where, number: int) -> list:
        """Return the numbers in the cell of a single column: those of its list, or the one that it is."""
        found = _as_list(cell)
        if found is None and isinstance(cell, str) and cell.strip().startswith("["):
            raise UserError(_no_labels(cell, where, self.columns[0], number))
        return [cell] if found is None else found

    def _of_right_length(self, row, where: Where, number: int):
        if len(row) != len(self.names):
            raise UserError(
                f"{where.source}: the label column '{self.columns[0]}' holds {len(row)} numbers in "
                f"{where.which([number])} of {where.split} and {len(self.names)} elsewhere: give each row as many."
            )
        return row

    def _number(self, cell, where: Where, number: int) -> float:
        value = _as_number(cell)
        in_row = f"'{cell}' in {where.which([number])} of {where.split}"
        if value is None:
            raise UserError(f"{where.source}: the label {in_row} is no finite number: a {self.task} needs one.")
        if self.task == "multi-label" and value not in (0.0, 1.0):
            raise UserError(
                f"{where.source}: the label {in_row} is neither 0 nor 1: with one column per label each says whether "
                "its label holds; for numbers take --task regression."
            )
        return value


def find_labels(
    where: Where, columns: list[str], task: str | None, delimiter: str | None, order: list[str] | None
) -> Labels:
    """Decide the task and name the labels.

    Several columns are a multi-label task if all their cells are 0 or 1, and a regression otherwise; so are lists of
    numbers that are all of one length. Other lists are a multi-label task, and so are texts joined by a delimiter,
    recognised where taking them apart leaves fewer distinct labels than there were distinct texts. Real numbers are a
    regression; anything else is a class.

    Args:
        where: the train split.
        columns: the label columns.
        task: as `--task` names it, or None to guess.
        delimiter: as `--label_delimiter` names it, or None to guess.
        order: the names of the labels in the order that is asked for, or None.

    Raises:
        UserError: the labels do not fit the task, or `order`.
    """
    for column in columns:
        _refuse_what_is_no_label(where, column)
    if task is None:
        task, delimiter = _guess_task(where, columns, delimiter)
    elif task == "multi-label" and len(columns) == 1:
        delimiter = delimiter or _guess_delimiter(where, columns[0])
    problem_type = PROBLEM_TYPES.get(task, SINGLE_LABEL)
    numbers = _number_lists(where, columns[0]) if len(columns) == 1 else None
    multi_hot = problem_type == MULTI_LABEL and numbers is not None and numbers.binary and numbers.length > 1
    if delimiter is not None and problem_type != MULTI_LABEL:
        raise UserError(f"--label_delimiter parts the labels of a multi-label task, and the task is {task}.")
    if problem_type == SINGLE_LABEL:
        if len(columns) > 1:
            raise UserError(
                f"a {task} task has one label column, and {', '.join(columns)} came: name one with --label_column."
            )
        names = _class_names(where, columns[0])
        found = "binary" if len(names) == 2 else "multi-class"
        if task not in ("class", found):
            raise UserError(
                f"{where.source}: the label column '{columns[0]}' holds {len(names)} labels ({some(names)}): that is "
                f"--task {found}, not {task}."
            )
        task = found
    elif problem_type == MULTI_LABEL and len(columns) == 1 and not multi_hot:
        names = _names_in_cells(where, columns[0], delimiter)
    else:
        length = len(columns) if numbers is None else numbers.length
        names = columns if len(columns) == length else [f"{columns[0]}_{i}" for i in range(length)]
    if order is not None:
        wanted = [str(name) for name in order]
        if problem_type == REGRESSION or len(columns) > 1:
            raise UserError("--labels orders the labels of one column: here --label_column does.")
        if multi_hot and len(set(wanted)) == len(wanted) == len(names):
            names = wanted  # lists of 0 and 1 do not say what their labels are called
        if sorted(wanted) != sorted(names):
            raise UserError(
                f"--labels names {some(wanted, most=20)}, and train holds {some(names, most=20)}: name each once."
            )
        names = wanted
    return Labels(task, list(names), list(columns), delimiter, multi_hot)


def _guess_task(where: Where, columns: list[str], delimiter: str | None) -> tuple[str, str | None]:
    """Return the task, with `class` for one that the number of labels decides, and the delimiter."""
    if len(columns) > 1:
        values = {_as_number(cell) for column in columns for cell in where.rows.unique(column)}
        return ("multi-label" if values <= {0.0, 1.0} else "regression"), delimiter
    column = columns[0]
    numbers = _number_lists(where, column)
    if numbers is not None and not numbers.binary and numbers.length > 1:
        return "regression", delimiter
    if delimiter is not None or _is_list(where.rows, column):
        return "multi-label", delimiter
    cells = where.rows.unique(column)
    if hasattr(where.rows.features[column], "names"):
        return "class", None
    texts = [text for text in map(_as_text, cells) if text]
    # A single one that does not parse must not turn all the others into classes: it is named when it is read.
    if any(_as_list(text) is not None for text in texts):
        return "multi-label", None
    found = _guess_delimiter(where, column)
    if found is not None:
        return "multi-label", found
    # True and False are 1 and 0 in a column for each of several labels; alone they are two classes.
    numbers = texts and all(_as_number(text) is not None and text.lower() not in ("true", "false") for text in texts)
    return ("regression" if numbers and not all(_is_integer(text) for text in texts) else "class"), None


def _guess_delimiter(where: Where, column: str) -> str | None:
    if _is_list(where.rows, column):
        return None
    texts = {text for text in map(_as_text, where.rows.unique(column)) if text}
    if all(_as_number(text) is not None for text in texts):
        return None
    for delimiter in DELIMITERS:
        parts = {part.strip() for text in texts for part in text.split(delimiter)}
        if len(parts) < len(texts) and any(delimiter in text for text in texts):
            return delimiter
    return None


def _class_names(where: Where, column: str) -> list[str]:
    if _is_list(where.rows, column):
        raise UserError(f"{where.source}: the label column '{column}' holds lists: that is --task multi-label.")
    feature = where.rows.features[column]
    _refuse_empty(where, column)
    if hasattr(feature, "names"):
        names = list(feature.names)
    else:
        texts = sorted({_as_text(cell) for cell in where.rows.unique(column)})
        names = sorted(texts, key=int) if all(_is_integer(text) for text in texts) else texts
    if len(names) < 2:
        raise UserError(
            f"{where.source}: the label column '{column}' holds one class only, '{names[0]}': "
            "there is nothing to tell apart."
        )
    return names


def _names_in_cells(where: Where, column: str, delimiter: str | None) -> list[str]:
    feature = where.rows.features[column]
    inner = getattr(feature, "feature", None)
    if hasattr(inner, "names"):
        return list(inner.names)
    found: set[str] = set()
    number = 0
    for batch in where.rows.select_columns([column]).iter(10_000):
        for cell in batch[column]:
            found.update(_parts(cell, delimiter, feature, where, column, number))
            number += 1
    if not found:
        raise UserError(f"{where.source}: the label column '{column}' holds no label in any row of {where.split}.")
    return sorted(found, key=int) if all(_is_integer(name) for name in found) else sorted(found)


@dataclass(frozen=True)
class _NumberLists:
    length: int
    binary: bool


def _number_lists(where: Where, column: str) -> _NumberLists | None:
    """Return what lists of numbers a column holds, or None if it holds anything else.

    Lists of whole numbers are ids of labels rather than targets, unless all are of one length and hold 0 and 1 alone.
    """
    lengths, binary, whole = [], True, True
    for batch in where.rows.select_columns([column]).iter(10_000):
        for cell in batch[column]:
            values = _as_list(cell)
            if not values:
                # A row without a list is an error of its own, and one with an empty list has no numbers.
                if values is None and not (cell is None or str(cell).strip().startswith("[")):
                    return None
                continue
            numbers = [_as_number(value) for value in values if not isinstance(value, str)]
            if len(numbers) != len(values) or None in numbers:
                return None
            lengths.append(len(values))
            binary &= set(numbers) <= {0.0, 1.0}
            whole &= all(isinstance(value, int) for value in values)
    even = bool(lengths) and min(lengths) == max(lengths)
    return _NumberLists(lengths[0], binary and even) if (binary and even) or not whole else None


def _as_list(cell) -> list | None:
    """Return the list that a cell is or, as text, spells out, or None."""
    if isinstance(cell, list):
        return cell
    if not isinstance(cell, str) or not cell.strip().startswith("["):
        return None
    try:
        found = ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    return found if isinstance(found, list) else None


def _refuse_what_is_no_label(where: Where, column: str) -> None:
    kind = where.rows.data.schema.field(column).type
    inner = kind.value_type if _is_list(where.rows, column) else kind
    if pa.types.is_nested(inner) or pa.types.is_binary(inner):
        raise UserError(
            f"{where.source}: the label column '{column}' holds {kind}: give a label, a number or a list of them."
        )


def _parts(cell, delimiter: str | None, feature, where: Where, column: str, number: int) -> list[str]:
    """Return the labels in one cell of a multi-label column: none in an empty one."""
    if cell is None:
        return []
    listed = _as_list(cell)
    if listed is None:
        text = _as_text(cell)
        if text.startswith("["):
            raise UserError(_no_labels(cell, where, column, number))
        return [part.strip() for part in (text.split(delimiter) if delimiter else [text]) if part.strip()]
    names = getattr(getattr(feature, "feature", None), "names", None)
    if any(part is None or isinstance(part, list | dict | tuple | set) for part in listed):
        raise UserError(_no_labels(cell, where, column, number))
    if names and not all(0 <= part < len(names) for part in listed):
        raise UserError(
            f"{where.source}: {where.split} has a label out of range, {listed} in {where.which([number])}: the "
            f"{len(names)} labels are 0 to {len(names) - 1}."
        )
    return [names[part] if names else _as_text(part) for part in listed]


def _no_labels(cell, where: Where, column: str, number: int) -> str:
    return (
        f"{where.source}: the label cell {cell!r} in {where.which([number])} of {where.split} is no list of labels: "
        f'write \'{column}\' as ["a", "b"] or as a|b.'
    )


def _all_empty(where: Where, column: str) -> bool:
    if _is_list(where.rows, column):
        return not any(cell for batch in where.rows.select_columns([column]).iter(10_000) for cell in batch[column])
    feature = where.rows.features[column]
    return {_class_text(cell, feature) for cell in where.rows.unique(column)} == {""}


def _refuse_empty(where: Where, column: str) -> None:
    feature = where.rows.features[column]
    if _is_list(where.rows, column):
        cells = (cell for batch in where.rows.select_columns([column]).iter(10_000) for cell in batch[column])
        empty = [number for number, cell in enumerate(cells) if not cell]
    elif any(_class_text(cell, feature) == "" for cell in where.rows.unique(column)):
        empty = np.flatnonzero([_class_text(cell, feature) == "" for cell in where.rows[column]])
    else:
        empty = []
    if len(empty):
        raise UserError(
            f"{where.source}: the label column '{column}' is empty in {where.which(empty)} of {where.split}: "
            "fill in or remove."
        )


def _is_list(rows: Dataset, column: str) -> bool:
    kind = rows.data.schema.field(column).type
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _class_text(cell, feature) -> str:
    if not hasattr(feature, "names"):
        return _as_text(cell)
    if cell is None or cell == -1:  # how a data set says that there is none
        return ""
    return feature.int2str(cell) if 0 <= cell < feature.num_classes else f"{cell} (out of range)"


def _as_text(cell) -> str:
    """One spelling for one label, however the file wrote it: 1, "1" and 1.0 are "1"."""
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return ""
    text = str(cell).strip()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() and "e" not in text.lower() else text


def _as_number(cell) -> float | None:
    if isinstance(cell, str) and cell.strip().lower() in ("true", "false"):
        return float(cell.strip().lower() == "true")
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def some(values: list, count: int | None = None, most: int = 5) -> str:
    """Return the first few of `values` for a sentence, and how many more there are of `count` in all."""
    count = len(values) if count is None else count
    shown = ", ".join(str(value) for value in values[:most])
    return shown if count <= most else f"{shown} and {count - most:,} more"


def probabilities_of(logits: np.ndarray, problem_type: str) -> np.ndarray:
    """Return what logits `[rows, num_labels]` say: probabilities in float64, or a regression's values as they are."""
    logits = np.asarray(logits, dtype=np.float64)
    if problem_type == REGRESSION:
        return logits
    return expit(logits) if problem_type == MULTI_LABEL else softmax(logits, axis=1)


def predictions_of(probabilities: np.ndarray, names: list[str], problem_type: str) -> list[str]:
    """Return one prediction per row as text: the likeliest label, all labels over one half, or the values.

    Labels and values of one row are joined by `|`.
    """
    if problem_type == SINGLE_LABEL:
        return [names[i] for i in probabilities.argmax(axis=1)]
    if problem_type == MULTI_LABEL:
        return ["|".join(name for name, p in zip(names, row, strict=True) if p > 0.5) for row in probabilities]
    return ["|".join(f"{value:.8g}" for value in row) for row in probabilities]
