"""The page of an audit, `audit.html`: suspicious labels one by one, for a person to decide."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from sklearn.feature_extraction.text import TfidfVectorizer

from bert_recipes.files import writing
from bert_recipes.reporting.pages import environment

AUDIT_PAGE = "audit.html"
# A page of more is slow to open, and no one reads further in one go.
MOST_ROWS = 1000
# Texts that are looked through for neighbours, and neighbours that are shown.
MOST_SEARCHED, NEIGHBOURS = 50_000, 3
# Characters of a text that are shown, and of a neighbour.
MOST_CHARACTERS, OF_A_NEIGHBOUR = 2000, 400


def write_audit(folder: Path, items: Sequence[dict[str, Any]], about: dict[str, Any]) -> None:
    """Write `audit.html` into the folder of an audit.

    Args:
        folder: of the audit.
        items: the suspicious rows, the most suspicious first; each with `id`, `split`, `issue`, `label`, `suggested`
            (None where nothing is), `score`, `text`, `neighbours` and `models`.
        about: the `source`, all `names` of labels, those of them that are `labels` to choose from, whether a row bears
            `several` or `values`, how many are `likely_wrong`, where to `stop_at`, and how many `more` rows there are.
    """
    data = {"items": items, **about}
    content = json.dumps(data, ensure_ascii=False)
    # What was decided is kept under a name that only this audit has.
    data["key"] = f"audit-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    # "</script>" in a text would end the script that holds it.
    escaped = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")
    page = environment.get_template("audit.html").render(title=f"Audit of {about['source']}", data=Markup(escaped))
    with writing(folder / AUDIT_PAGE) as file:
        file.write(page)


def neighbours(texts: Sequence[str], labels: Sequence[str], chosen: Sequence[int]) -> list[list[dict[str, str]]]:
    """Return for each chosen row the rows whose words are most like its own, the nearest first.

    Args:
        texts: of all rows, `[rows]`.
        labels: of all rows, spelt out, `[rows]`.
        chosen: numbers of the rows that neighbours are wanted of.
    """
    searched = min(len(texts), MOST_SEARCHED)
    vectorizer = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+")
    try:
        known = vectorizer.fit_transform(texts[:searched])
    except ValueError:  # no text has a word
        return [[] for _ in chosen]
    found: list[list[dict[str, str]]] = []
    for start in range(0, len(chosen), 100):
        some = chosen[start : start + 100]
        similar = (vectorizer.transform([texts[i] for i in some]) @ known.T).toarray()
        for row, of_row in zip(some, similar, strict=True):
            if row < searched:
                of_row[row] = 0
            nearest = np.argsort(-of_row, kind="stable")[:NEIGHBOURS]
            near = [i for i in nearest if of_row[i] > 0]
            found.append([{"text": shortened(texts[i], OF_A_NEIGHBOUR), "label": labels[i]} for i in near])
    return found


def shortened(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return a text, or its beginning where it has more characters than `most`."""
    return text if len(text) <= most else f"{text[:most]} …"
