"""Rows that are given from Python rather than by a name."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa
from datasets import Dataset

from bert_recipes.errors import UserError, in_one_line

PYTHON = "python:"


def splits_in_memory(given: Any) -> dict[str, Dataset]:
    """Return the splits of a DataFrame, a `datasets.Dataset`, or either by split (`DatasetDict`, dict).

    Raises:
        UserError: it is something else, or holds no rows that can be read.
    """
    if isinstance(given, Mapping):
        return {str(split): dataset_of(rows) for split, rows in given.items()}
    return {"train": dataset_of(given)}


def dataset_of(rows: Any) -> Dataset:
    """Return a DataFrame or a `Dataset` as a `Dataset`.

    Raises:
        UserError: it is something else, or has columns that cannot be read.
    """
    if isinstance(rows, Dataset):
        # What selects or shuffles leaves the other rows in the table behind it.
        return rows.with_format(None).flatten_indices()
    if not isinstance(rows, pd.DataFrame):
        raise UserError(
            f"dataset: rows come as a pandas DataFrame, a datasets.Dataset, or a dict of these by split, not as a "
            f"{type(rows).__name__}."
        )
    frame = rows.set_axis([str(name) for name in rows.columns], axis=1)
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise UserError(f"dataset: the DataFrame has more than one column named '{twice}': rename all but one.")
    try:
        return Dataset.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError, UnicodeEncodeError) as error:
        raise UserError(f"dataset: the DataFrame cannot be read: {in_one_line(error)}") from error
