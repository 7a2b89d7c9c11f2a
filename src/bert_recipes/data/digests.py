"""Whether two runs had the same rows."""

import hashlib
import json
from collections.abc import Iterable

from datasets import Dataset

from bert_recipes.columns import ID, LABELS, TEXT, TEXT_PAIR
from bert_recipes.data.loading import TextData


def digests(data: TextData, columns: Iterable[str] = ()) -> dict[str, str]:
    """Return a digest of each split's ids, texts and labels: equal digests are equal data.

    Args:
        data: what `load_data` returned.
        columns: that the model takes beside these; each has a digest of its own, as `train (keyword)`, since runs
            with it and without have the same rows.
    """
    found = {split: _digest(rows, (ID, TEXT, TEXT_PAIR, LABELS)) for split, rows in data.splits.items()}
    more = {f"{split} ({name})": _digest(rows, [name]) for name in columns for split, rows in data.splits.items()}
    return found | more


def text_digests(data: TextData) -> dict[str, str]:
    """Return a digest of each split's ids and texts, whatever their labels: equal digests are equal rows."""
    return {split: _digest(rows, (ID, TEXT, TEXT_PAIR)) for split, rows in data.splits.items()}


def _digest(rows: Dataset, names: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for name in names:
        if name in rows.column_names:
            digest.update(name.encode())
            cells = rows.select_columns(name)
            for start in range(0, len(rows), 10_000):
                digest.update(json.dumps(cells[start : start + 10_000][name], default=str).encode())
    return digest.hexdigest()
