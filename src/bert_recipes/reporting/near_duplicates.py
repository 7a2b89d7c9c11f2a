"""Texts that are nearly one and whose labels clash."""

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Clash:
    """Texts that are one but for links, names, case and punctuation, and whose labels differ."""

    rows: list[tuple[str, str, str, str]]  # split, id, label, text


def clashes(rows: Callable[[], Iterable[tuple[str, str, str, str]]]) -> list[Clash]:
    """Return the groups of near-duplicates with clashing labels, the largest first.

    Args:
        rows: called twice, yields split, id, label and text of each row. In between 16 bytes a row are kept.
    """
    both = ((_digest(key), _digest(row[2])) for row in rows() if (key := normalised(row[3])))
    pairs = np.unique(np.fromiter(both, dtype=[("text", "u8"), ("label", "u8")]))
    texts, labels = np.unique(pairs["text"], return_counts=True)
    clashing = set(texts[labels > 1].tolist())
    groups: dict[str, list[tuple[str, str, str, str]]] = {}
    for row in rows() if clashing else ():
        key = normalised(row[3])
        if key and _digest(key) in clashing:
            groups.setdefault(key, []).append(row)
    return sorted((Clash(group) for group in groups.values()), key=lambda clash: -len(clash.rows))


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def normalised(text: str) -> str:
    """Return the words of a text, lower case, without links, @names and punctuation."""
    text = re.sub(r"https?://\S+|@\w+|&\w+;", " ", text.lower())
    return " ".join(re.findall(r"\w+", text))
