"""Whether two runs had the same rows."""

import hashlib
import json

from bert_recipes.columns import ID, LABELS, TEXT, TEXT_PAIR
from bert_recipes.data.loading import TextData


def digests(data: TextData) -> dict[str, str]:
    """Return a digest of each split's ids, texts and labels: equal digests are equal data."""
    found = {}
    for split, rows in data.splits.items():
        digest = hashlib.sha256()
        for name in (ID, TEXT, TEXT_PAIR, LABELS):
            if name in rows.column_names:
                digest.update(name.encode())
                cells = rows.select_columns(name)
                for start in range(0, len(rows), 10_000):
                    digest.update(json.dumps(cells[start : start + 10_000][name]).encode())
        found[split] = digest.hexdigest()
    return found
