"""The tables that this project measured, kept in measured.yaml for the tour and for the documents that show them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from bert_recipes.anatomy import LANGUAGES
from bert_recipes.anatomy.tour import PerLanguage, Said, Table

FILE = Path(__file__).with_name("measured.yaml")


def measured() -> PerLanguage:
    """Return the tables, each with the name of the document that shows it."""
    tables = yaml.safe_load(FILE.read_text(encoding="utf-8")).values()
    return PerLanguage({language: [_table(table, language) for table in tables] for language in LANGUAGES})


def record(name: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Replace a table of measured.yaml, whose comment stays."""
    text = FILE.read_text(encoding="utf-8")
    comment = [line for line in text.splitlines(keepends=True) if line.startswith("#")]
    tables = yaml.safe_load(text)
    tables[name] |= {"header": list(header), "rows": [list(row) for row in rows]}
    dumped = yaml.safe_dump(tables, sort_keys=False, allow_unicode=True, default_flow_style=None, width=119)
    FILE.write_text("".join(comment) + dumped, encoding="utf-8")


def _table(table: dict[str, Any], language: str) -> Table:
    header, *rows = ([_in(language, cell) for cell in row] for row in (table["header"], *table["rows"]))
    return Table(rows, header, title=Said("measured", file=_in(language, table["file"])))


def _in(language: str, text: str | dict[str, str]) -> str:
    return text[language] if isinstance(text, dict) else text
