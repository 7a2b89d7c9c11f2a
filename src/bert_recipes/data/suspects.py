"""What is wrong with a text itself, whatever its label: it is empty or broken, or its length or script is apart."""

import codecs
import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

import numpy as np

EMPTY, ENCODING, LENGTH, LANGUAGE = "empty", "encoding", "length", "language"
# Letters that a byte of UTF-8 becomes where it is read as Latin-1 or Windows-1252.
MISREAD = re.compile(
    "[\u0080-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]{2,}"
)
# What French puts around words, which would read as a part of them.
QUOTES = re.compile("\u00ab\\s?|\\s?[\u00bb!?;:%]")
ENTITY = re.compile(r"&(?:#\d+|#x[0-9a-f]+|[a-z]+\d*);", re.IGNORECASE)
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# A length is apart where its logarithm is further from the median than this many spreads.
SPREADS = 5.0
# A script is that of the data where this share of its texts is in it, and apart below that one.
MOST, FEW = 0.9, 0.05


def suspect_texts(texts: Iterable[str]) -> list[list[str]]:
    """Return what is wrong with each text: any of `empty`, `encoding`, `length` and `language`.

    The last two are seen beside the other texts: a length whose logarithm is more than five robust spreads from the
    median, and a script that few have where nearly all have another.
    """
    found: list[list[str]] = []
    lengths, scripts = [], []
    for text in texts:
        found.append([EMPTY] if not re.search(r"\w", text) else [])
        if has_broken_characters(text):
            found[-1].append(ENCODING)
        lengths.append(len(text))
        scripts.append(script_of(text))
    for row in np.flatnonzero(_apart(np.array(lengths))).tolist():
        found[row].append(LENGTH)
    counts = Counter(script for script in scripts if script)
    total = sum(counts.values())
    if total and counts.most_common(1)[0][1] >= MOST * total:
        for row, script in enumerate(scripts):
            if script and counts[script] < FEW * total:
                found[row].append(LANGUAGE)
    return found


def has_broken_characters(text: str) -> bool:
    """Whether a text has control characters, HTML entities, or UTF-8 that was read as something else."""
    if CONTROL.search(text) or "\ufffd" in text or any(map(_is_misread, MISREAD.findall(QUOTES.sub(" ", text)))):
        return True
    return any(html.unescape(entity) != entity for entity in ENTITY.findall(text))


def _is_misread(letters: str) -> bool:
    """Whether letters are the bytes of other letters in UTF-8."""
    try:
        letters.encode("latin-1", errors="windows-1252").decode()
    except UnicodeError:
        return False
    return True


def _in_windows_1252(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    return error.object[error.start : error.end].encode("cp1252"), error.end


codecs.register_error("windows-1252", _in_windows_1252)


def script_of(text: str) -> str:
    """Return the script of most of a text's letters, as in `LATIN` or `HANGUL`; nothing where it has no letter."""
    letters = Counter(unicodedata.name(c, "").split(" ")[0] for c in set(text) if c.isalpha())
    return max(letters, key=lambda name: (letters[name], name)) if letters else ""


def _apart(lengths: np.ndarray) -> np.ndarray:
    if not len(lengths):
        return np.zeros(0, dtype=bool)
    logs = np.log1p(lengths)
    far = np.abs(logs - np.median(logs))
    spread = np.median(far) * 1.4826
    return far > SPREADS * max(spread, 0.1)
