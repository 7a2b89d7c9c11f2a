"""Rows that are given from Python rather than by a name."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from bert_recipes.errors import UserError, in_one_line

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from datasets import Dataset


def is_frame(given: Any) -> bool:
    """Whether something is a pandas DataFrame; pandas is not imported to tell."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(given, pandas.DataFrame)


def is_dataset(given: Any) -> bool:
    """Whether something is a `datasets.Dataset`; datasets is not imported to tell."""
    datasets = sys.modules.get("datasets")
    return datasets is not None and isinstance(given, datasets.Dataset)


def splits_in_memory(given: Any) -> "dict[str, Dataset]":
    """Return the splits of a DataFrame, a `datasets.Dataset`, or either by split (`DatasetDict`, dict).

    Raises:
        UserError: it is something else, or holds no rows that can be read.
    """
    if isinstance(given, Mapping):
        return {str(split): dataset_of(rows) for split, rows in given.items()}
    return {"train": dataset_of(given)}


def dataset_of(rows: Any) -> "Dataset":
    """Return a DataFrame or a `Dataset` as a `Dataset`.

    Raises:
        UserError: it is something else, or has columns that cannot be read.
    """
    from datasets import Dataset

    if is_dataset(rows):
        # What selects or shuffles leaves the other rows in the table behind it.
        return rows.with_format(None).flatten_indices()
    if not is_frame(rows):
        raise UserError(
            f"dataset: rows come as a pandas DataFrame, a datasets.Dataset, or a dict of these by split, not as a "
            f"{type(rows).__name__}."
        )
    with _read_as_frame():
        return Dataset.from_pandas(_with_names(rows), preserve_index=False)


def table_of(frame: "pd.DataFrame") -> "pa.Table":
    """Return a DataFrame as a table of Arrow's, whose cells are those of `dataset_of`.

    Raises:
        UserError: it has columns that cannot be read.
    """
    import pyarrow as pa

    with _read_as_frame():
        return pa.Table.from_pandas(_with_names(frame), preserve_index=False)


def _with_names(rows: "pd.DataFrame") -> "pd.DataFrame":
    frame = rows.set_axis([str(name) for name in rows.columns], axis=1)
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise UserError(f"dataset: the DataFrame has more than one column named '{twice}': rename all but one.")
    return frame


@contextlib.contextmanager
def _read_as_frame() -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, TypeError, ValueError, UnicodeEncodeError) as error:
        raise UserError(f"dataset: the DataFrame cannot be read: {in_one_line(error)}") from error
