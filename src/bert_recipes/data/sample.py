"""The sample submission that came with the data: the form that the submission takes."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from bert_recipes.data.cells import id_text, plain_text
from bert_recipes.data.readers import open_table
from bert_recipes.data.text_files import TextFormat
from bert_recipes.errors import UserError, some

CORRECT_OR_REMOVE = "correct or remove it"
# Different cells of a column that are looked at: what kind they are shows in the first ones.
MOST_CELLS = 10_000


@dataclass(frozen=True)
class Sample:
    """A sample submission.

    Attributes:
        path: of the file.
        header: its columns, the id's first and at least one more.
        ids: in its order, each once.
        cells: the different cells of each column beside the id, `MOST_CELLS` at most.
        delimiter: between its cells.
    """

    path: Path
    header: list[str]
    ids: list[str]
    cells: list[list[str]]
    delimiter: str = ","

    def id_column(self, names: Collection[str]) -> str | None:
        """Return the one of the columns `names` that the first header names: exactly, or in another case."""
        return _named(self.header[0], names)

    def label_columns(self, train: Collection[str], test: Collection[str]) -> list[str] | None:
        """Return the columns that train has and test lacks, if the headers beside the id name such alone."""
        found = [_named(name, train) for name in self.header[1:]]
        labels = [name for name in found if name is not None and _named(name, test) is None]
        return labels if len(labels) == len(found) == len(set(labels)) else None


def _named(header: str, names: Collection[str]) -> str | None:
    if header in names:
        return header
    return next((name for name in names if name.strip().lower() == header.strip().lower()), None)


def read_sample(path: Path, text_format: TextFormat) -> Sample:
    """Read a sample submission.

    Args:
        path: of the file.
        text_format: of the data that it came with; a sample has a header, whatever the others have.

    Raises:
        UserError: it cannot be read, has no rows or no column beside the id, or asks for an id twice.
    """
    ids: list[str] = []
    try:
        table = open_table(path, replace(text_format, header=True))
        cells: list[dict[str, None]] = [{} for _ in table.schema.names[1:]]
        for batch in table.batches():
            ids += map(id_text, batch.column(0).to_pylist())
            for i, seen in enumerate(cells, 1):
                if len(seen) < MOST_CELLS:
                    seen.update(
                        dict.fromkeys(plain_text(cell).strip() for cell in batch.column(i).unique().to_pylist())
                    )
    except UserError as error:
        raise UserError(f"the sample submission cannot be used, {CORRECT_OR_REMOVE}: {error}") from error
    header = table.schema.names
    if len(header) < 2:
        raise UserError(f"{path} has no column beside the id: {CORRECT_OR_REMOVE}.")
    if not ids:
        raise UserError(f"{path} has no rows: {CORRECT_OR_REMOVE}.")
    if twice := [name for name, count in Counter(ids).items() if count > 1]:
        raise UserError(f"{path} asks for {len(twice)} ids more than once, {some(twice)}: {CORRECT_OR_REMOVE}.")
    return Sample(path, header, ids, [list(seen) for seen in cells], text_format.delimiter or ",")


def _holds_ids(cells: list[Any], ids: list[str]) -> bool:
    found = set(map(id_text, cells))
    return len(found) == len(cells) and found.issuperset(ids)


def check_ids(sample: Sample, test: Dataset, id_column: str | None, used: Collection[str]) -> None:
    """Check that test has every row that the sample asks for.

    Args:
        sample: the sample submission.
        test: the rows to predict, as they were read.
        id_column: of these rows; None, where their numbers are their ids.
        used: the columns that play a part and hold no ids.

    Raises:
        UserError: it has not, or another column of test holds the ids.
    """
    known = map(id_text, test[id_column][:]) if id_column else map(str, range(len(test)))
    missing = set(sample.ids).difference(known)
    if id_column and not missing:
        return
    # Row numbers fit many a sample whose ids are numbers too: they are right only where no column holds the ids.
    candidates = (name for name in test.column_names if name not in used and name != id_column)
    better = next((name for name in candidates if _holds_ids(test[name][:], sample.ids)), None)
    if better is not None:
        taken = f"'{id_column}' was taken for it" if id_column else "there is no id column by a usual name"
        raise UserError(
            f"{sample.path} asks for the ids in the column '{better}' of test, and {taken}: give --id_column {better}."
        )
    if missing:
        first = next(name for name in sample.ids if name in missing)
        whose = f"in '{id_column}'" if id_column else "whose rows are numbered from 0 where no --id_column is given"
        raise UserError(
            f"{sample.path} asks for ids that test does not have, such as {first} ({whose}): {CORRECT_OR_REMOVE}."
        )
