"""From label cells to the task, and from label cells to numbers."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from bert_recipes.data.cells import as_number, in_order, is_integer
from bert_recipes.data.label_cells import (
    NumberLists,
    Where,
    as_list,
    as_text,
    class_text,
    is_all_empty,
    is_list_column,
    labels_in,
    not_labels,
    number_lists_in,
    refuse_empty,
)
from bert_recipes.errors import UserError, some
from bert_recipes.task import MULTI_LABEL, PROBLEM_TYPES, REGRESSION, SINGLE_LABEL, Task

DELIMITERS = ("|", ";", ",")
# A number with a decimal comma, or two labels that are numbers.
COMMA_NUMBER = re.compile(r"[+-]?[0-9]+,[0-9]+")


# Cells by their column.
Batch = dict[str, list[Any]]
# From a batch of cells and their row numbers to labels.
Encoder = Callable[[Batch, list[int]], list[Any]]


def label_encoder(task: Task, where: Where) -> Encoder | None:
    """Return a function from a batch of cells and their row numbers to labels, or None for a split without any.

    Labels are class ids where one label holds, and lists of one float per label or target otherwise.

    Raises:
        UserError: now or from the function: a label that train never saw, an empty cell or one that does not
            parse.
    """
    there = [column for column in task.columns if column in where.rows.column_names]
    for column in there:
        one_each = len(there) > 1 or (task.problem_type == SINGLE_LABEL and not task.multi_hot)
        _refuse_what_is_no_label(where, column, one_each=one_each)
    if where.split == "test" and (len(there) < len(task.columns) or all(is_all_empty(where, c) for c in there)):
        return None
    if task.name == "multi-label" and len(task.columns) == 1 and not task.multi_hot:
        return _multi_label_encoder(task, where)
    if task.problem_type == SINGLE_LABEL:
        return (
            _one_hot_encoder(task, where) if task.multi_hot or len(task.columns) > 1 else _class_encoder(task, where)
        )
    return _numbers_encoder(task, where)


def _class_encoder(task: Task, where: Where) -> Encoder:
    column = task.columns[0]
    feature = where.rows.features[column]
    cells = where.rows.unique(column)
    refuse_empty(where, column)
    texts = [class_text(cell, feature) for cell in cells]
    unknown = sorted(set(texts) - set(task.label_names))
    if unknown:
        raise UserError(
            f"{where.source}: {where.split} has labels that train never saw: {some(unknown)}; train has "
            f"{some(task.label_names)}{where.cure}."
        )
    class_of = {cell: task.label_names.index(text) for cell, text in zip(cells, texts, strict=True)}
    return lambda batch, numbers: [class_of[cell] for cell in batch[column]]


def _multi_label_encoder(task: Task, where: Where) -> Encoder:
    column = task.columns[0]
    feature = where.rows.features[column]
    class_of = task.label2id

    def encode(batch: Batch, numbers: list[int]) -> list[list[float]]:
        out = []
        for cell, number in zip(batch[column], numbers, strict=True):
            row = [0.0] * len(task.label_names)
            for name in labels_in(cell, task.delimiter, feature, where, column, number):
                if name not in class_of:
                    raise UserError(
                        f"{where.source}: {where.split} has a label that train never saw, '{name}' in "
                        f"{where.which([number])}; train has {some(task.label_names)}{where.cure}."
                    )
                row[class_of[name]] = 1.0
            out.append(row)
        return out

    return encode


def _numbers_encoder(task: Task, where: Where) -> Encoder:
    for column in task.columns:
        refuse_empty(where, column)

    def encode(batch: Batch, numbers: list[int]) -> list[list[float]]:
        cells = zip(*(batch[column] for column in task.columns), strict=True)
        rows = [
            _listed(task, row[0], where, number) if len(row) == 1 else row
            for row, number in zip(cells, numbers, strict=True)
        ]
        return [
            [_number(task, cell, where, number) for cell in _of_right_length(task, row, where, number)]
            for row, number in zip(rows, numbers, strict=True)
        ]

    return encode


def _one_hot_encoder(task: Task, where: Where) -> Encoder:
    numbers_of = _numbers_encoder(task, where)

    def encode(batch: Batch, numbers: list[int]) -> list[int]:
        rows = numbers_of(batch, numbers)
        if wrong := [number for row, number in zip(rows, numbers, strict=True) if sum(row) != 1]:
            raise UserError(
                f"{where.source}: each row of a {task.name} task holds one label, and the 0s and 1s of "
                f"{some(task.label_names)} do not sum to 1 in {where.which(wrong)} of {where.split}: correct them, or "
                f"take --task multi-label{where.cure}."
            )
        return [row.index(1.0) for row in rows]

    return encode


def _listed(task: Task, cell: Any, where: Where, number: int) -> list[Any]:
    """Return the numbers in the cell of a single column: those of its list, or the one that it is."""
    found = as_list(cell)
    if found is None and isinstance(cell, str) and cell.strip().startswith("["):
        raise UserError(not_labels(cell, where, task.columns[0], number))
    return [cell] if found is None else found


def _of_right_length(task: Task, row: Sequence[Any], where: Where, number: int) -> Sequence[Any]:
    if len(row) != len(task.label_names):
        raise UserError(
            f"{where.source}: the label column '{task.columns[0]}' holds {len(row)} numbers in "
            f"{where.which([number])} of {where.split} and {len(task.label_names)} elsewhere: give each row as many"
            f"{where.cure}."
        )
    return row


def _number(task: Task, cell: Any, where: Where, number: int) -> float:
    value = as_number(cell)
    in_row = f"'{cell}' in {where.which([number])} of {where.split}"
    if value is None:
        comma = "; where its comma is a decimal one give --decimal ," if COMMA_NUMBER.fullmatch(as_text(cell)) else ""
        raise UserError(
            f"{where.source}: the label {in_row} is no finite number: a {task.name} needs one{comma}{where.cure}."
        )
    if task.problem_type != REGRESSION and value not in (0.0, 1.0):
        raise UserError(
            f"{where.source}: the label {in_row} is neither 0 nor 1: with one column per label each says whether "
            f"its label holds; for numbers take --task regression{where.cure}."
        )
    return value


def find_task(
    where: Where, columns: list[str], name: str | None, delimiter: str | None, order: list[str] | None
) -> Task:
    """Decide the task and name the labels.

    Several columns whose cells are 0 or 1 are classes if each row has exactly one 1, and a multi-label task otherwise;
    so are lists of 0 and 1 that are all of one length. Several columns of other numbers, and lists of them, are a
    regression. Other lists are a multi-label task, and so are texts joined by a delimiter, recognised where taking
    them apart leaves fewer distinct labels than there were distinct texts. Real numbers are a regression; anything
    else is a class.

    Args:
        where: the train split.
        columns: the label columns.
        name: as `--task` names it, or None to guess.
        delimiter: as `--label_delimiter` names it, or None to guess.
        order: the names of the labels in the order that is asked for, or None.

    Raises:
        UserError: the labels do not fit the task, or `order`.
    """
    for column in columns:
        _refuse_what_is_no_label(where, column, one_each=len(columns) > 1)
    numbers = number_lists_in(where, columns[0]) if len(columns) == 1 else None
    if name is None:
        name, delimiter = _guess_task(where, columns, delimiter, numbers)
    elif name == "multi-label" and len(columns) == 1:
        delimiter = delimiter or _guess_delimiter(where, columns[0])
    problem_type = PROBLEM_TYPES.get(name, SINGLE_LABEL)
    multi_hot = problem_type != REGRESSION and numbers is not None and numbers.binary and numbers.length > 1
    if delimiter is not None and problem_type != MULTI_LABEL:
        raise UserError(f"--label_delimiter parts the labels of a multi-label task, and the task is {name}.")
    if problem_type == SINGLE_LABEL and len(columns) > 1 and not _are_binary(where, columns):
        raise UserError(
            f"a {name} task has one label column, or one of 0 and 1 for each class, and {some(columns)} came: name "
            "one with --label_column."
        )
    if len(columns) == 1 and problem_type == MULTI_LABEL and not multi_hot:
        names = _names_in_cells(where, columns[0], delimiter)
    elif len(columns) == 1 and problem_type == SINGLE_LABEL and not multi_hot:
        names = _class_names(where, columns[0])
    else:
        length = len(columns) if numbers is None else numbers.length
        names = columns if len(columns) == length else [f"{columns[0]}_{i}" for i in range(length)]
    if problem_type == SINGLE_LABEL:
        name = _which_classes(where, columns, name, names)
    if order is not None:
        if problem_type == REGRESSION or len(columns) > 1:
            raise UserError("--labels orders the labels of one column: here --label_column does.")
        names = _in_order(names, [str(label) for label in order], multi_hot)
    return Task(name, list(names), list(columns), delimiter, multi_hot)


def _which_classes(where: Where, columns: list[str], name: str, names: list[str]) -> str:
    """Return whether classes of these names are a binary or a multi-class task."""
    found = "binary" if len(names) == 2 else "multi-class"
    if name not in ("class", found):
        held = f"column '{columns[0]}' holds" if len(columns) == 1 else "columns hold"
        raise UserError(
            f"{where.source}: the label {held} {len(names)} labels ({some(names)}): that is --task {found}, not "
            f"{name}."
        )
    return found


def _in_order(names: list[str], wanted: list[str], multi_hot: bool) -> list[str]:
    """Return the names of the labels as `--labels` orders them."""
    if multi_hot and len(set(wanted)) == len(wanted) == len(names):
        return wanted  # lists of 0 and 1 do not say what their labels are called
    if sorted(wanted) != sorted(names):
        raise UserError(
            f"--labels names {some(wanted, most=20)}, and train holds {some(names, most=20)}: name each once."
        )
    return wanted


def _guess_task(
    where: Where, columns: list[str], delimiter: str | None, numbers: NumberLists | None
) -> tuple[str, str | None]:
    """Return the task, with `class` for one that the number of labels decides, and the delimiter."""
    if len(columns) > 1:
        if not _are_binary(where, columns):
            return "regression", delimiter
        return ("class" if delimiter is None and _sum_to_one(where, columns) else "multi-label"), delimiter
    column = columns[0]
    if numbers is not None and numbers.length > 1 and not numbers.binary:
        return "regression", delimiter
    if numbers is not None and numbers.length > 1 and numbers.one_hot and delimiter is None:
        return "class", None
    if delimiter is not None or is_list_column(where.rows, column):
        return "multi-label", delimiter
    cells = where.rows.unique(column)
    if hasattr(where.rows.features[column], "names"):
        return "class", None
    texts = [text for text in map(as_text, cells) if text]
    # A single one that does not parse must not turn all the others into classes: it is named when it is read.
    if any(as_list(text) is not None for text in texts):
        return "multi-label", None
    _refuse_decimal_commas(where, column, texts)
    found = _guess_delimiter(where, column)
    if found is not None:
        return "multi-label", found
    # True and False are 1 and 0 in a column for each of several labels; alone they are two classes.
    spelt = [text for text in texts if as_number(text) is not None and text.lower() not in ("true", "false")]
    return ("regression" if spelt == texts and not all(is_integer(text) for text in texts) else "class"), None


def _are_binary(where: Where, columns: list[str]) -> bool:
    return {as_number(cell) for column in columns for cell in where.rows.unique(column)} <= {0.0, 1.0}


def _sum_to_one(where: Where, columns: list[str]) -> bool:
    """Whether each row of columns of 0 and 1 has 1 in exactly one of them."""
    return all(
        sum(as_number(cell) or 0.0 for cell in row) == 1
        for batch in where.rows.select_columns(columns).iter(10_000)
        for row in zip(*(batch[column] for column in columns), strict=True)
    )


def _refuse_decimal_commas(where: Where, column: str, texts: list[str]) -> None:
    """Raise `UserError` where nothing tells whether a comma is a decimal one or stands between labels."""
    with_comma = [text for text in texts if COMMA_NUMBER.fullmatch(text)]
    if with_comma and all(as_number(text) is not None or COMMA_NUMBER.fullmatch(text) for text in texts):
        raise UserError(
            f"{where.source}: the label column '{column}' holds {with_comma[0]} and the like: give --decimal , for "
            "numbers with a decimal comma, or --label_delimiter , for several labels in a cell."
        )


def _guess_delimiter(where: Where, column: str) -> str | None:
    if is_list_column(where.rows, column):
        return None
    texts = {text for text in map(as_text, where.rows.unique(column)) if text}
    if all(as_number(text) is not None for text in texts):
        return None
    for delimiter in DELIMITERS:
        parts = {part.strip() for text in texts for part in text.split(delimiter)}
        if len(parts) < len(texts) and any(delimiter in text for text in texts):
            return delimiter
    return None


def _class_names(where: Where, column: str) -> list[str]:
    if is_list_column(where.rows, column):
        raise UserError(f"{where.source}: the label column '{column}' holds lists: that is --task multi-label.")
    feature = where.rows.features[column]
    refuse_empty(where, column)
    if hasattr(feature, "names"):
        names = list(feature.names)
    else:
        names = in_order({as_text(cell) for cell in where.rows.unique(column)})
    if len(names) < 2:
        raise UserError(
            f"{where.source}: the label column '{column}' holds one class only, '{names[0]}': "
            "there is nothing to tell apart."
        )
    return names


def _names_in_cells(where: Where, column: str, delimiter: str | None) -> list[str]:
    feature = where.rows.features[column]
    names = getattr(getattr(feature, "feature", None), "names", None)
    if names is not None:
        return list(names)
    found: set[str] = set()
    number = 0
    for batch in where.rows.select_columns([column]).iter(10_000):
        for cell in batch[column]:
            found.update(labels_in(cell, delimiter, feature, where, column, number))
            number += 1
    if not found:
        raise UserError(f"{where.source}: the label column '{column}' holds no label in any row of {where.split}.")
    return in_order(found)


def _refuse_what_is_no_label(where: Where, column: str, *, one_each: bool) -> None:
    kind = where.rows.data.schema.field(column).type
    if one_each and is_list_column(where.rows, column):
        raise UserError(
            f"{where.source}: the label column '{column}' of {where.split} holds {kind}: give one label or number in "
            "each row."
        )
    inner = kind.value_type if is_list_column(where.rows, column) else kind
    if pa.types.is_nested(inner) or pa.types.is_binary(inner):
        raise UserError(
            f"{where.source}: the label column '{column}' holds {kind}: give a label, a number or a list of them."
        )
