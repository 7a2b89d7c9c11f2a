"""What a script measured, put into the document that tells of it, so that the two cannot drift apart."""

from pathlib import Path

from bert_recipes.errors import UserError


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
