"""Tables in Markdown, and the documents that they are put into, so that what was measured and what is told agree."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bert_recipes.errors import UserError, some

ALIGNMENTS = {"l": "---", "r": "--:"}


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str = "") -> str:
    """Return a table in Markdown.

    Args:
        header: the columns' titles.
        rows: the cells, as text; a `|` or a line break in one of them does not end it.
        align: a letter for each column, `l` or `r`; by default all are aligned to the left.
    """
    rules = [ALIGNMENTS[letter] for letter in align or "l" * len(header)]
    lines = [_line(header), f"|{'|'.join(rules)}|", *map(_line, rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_in_one_cell, cells))} |"


def _in_one_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def between_marks(document: Path, target: str) -> str:
    """Return what stands in `document` between the marks of `make target`."""
    begin, end = _marks(target)
    return document.read_text(encoding="utf-8").split(begin)[1].split(end)[0].strip()


def put_between_marks(document: Path, target: str, text: str) -> None:
    """Replace what stands in `document` between the marks of `make target` by `text`.

    Raises:
        UserError: the document has no such marks.
    """
    begin, end = _marks(target)
    content = document.read_text(encoding="utf-8")
    if begin not in content or end not in content:
        raise UserError(f"{document} has no place for the table: write {begin} and {end} where it should stand.")
    before, rest = content.split(begin)
    document.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def _marks(target: str) -> tuple[str, str]:
    return f"<!-- make {target}: begin -->", f"<!-- make {target}: end -->"


def how_it_ended(configuration: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """Return, in sentences, what could end a training before its last step, and whether it did.

    Args:
        configuration: of the run, as run.yaml holds it.
        metrics: as metrics.json holds them.
    """
    said = []
    if patience := configuration.get("early_stopping_patience"):
        evaluations = "1 evaluation" if patience == 1 else f"{patience} evaluations in a row"
        said.append(f"The training was to stop after {evaluations} without a better score.")
    if ended := metrics["train"].get("stopped_early"):
        said.append(f"It stopped early, after step {ended[0]:,} of {ended[1]:,}.")
    if callbacks := configuration.get("callbacks"):
        names = some([f"`{spec.rpartition(':')[2]}`" for spec in callbacks])
        said.append(f"Callbacks of its own took part in it: {names}.")
    return said
