"""The submission: the predictions of test in the form of the sample that came with the data."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bert_recipes.columns import ID
from bert_recipes.data.loading import TextData
from bert_recipes.data.readers import open_table
from bert_recipes.errors import UserError
from bert_recipes.files import writing
from bert_recipes.task import MULTI_LABEL, Task

# What this project calls the folder of a competition's files.
COMPETITIONS = {"disaster-tweets": "nlp-getting-started"}
# Where Kaggle's own machines have them, in a folder that is named by the competition.
KAGGLE_INPUT = Path("/kaggle/input")


def competition_of(source: str) -> str:
    """Return what Kaggle calls the competition that data came from, or NAME where its folder does not tell."""
    folder = Path(source)
    if folder.is_relative_to(KAGGLE_INPUT):
        names = [part for part in folder.relative_to(KAGGLE_INPUT).parts if part != "competitions"]
        return names[0] if names else "NAME"
    return COMPETITIONS.get(folder.name, "NAME")


@dataclass(frozen=True)
class SampleSubmission:
    """The form of a submission.

    Attributes:
        header: its columns, the id's first.
        ids: in its order.
    """

    header: list[str]
    ids: list[str]

    @classmethod
    def of(cls, data: TextData) -> "SampleSubmission | None":
        """Return the sample that came with the data, checked against the test split before any training.

        Raises:
            UserError: it does not fit the test split or the labels.
        """
        if data.sample_submission is None or "test" not in data.splits:
            return None
        table = open_table(data.sample_submission, data.text_format)
        header = table.schema.names
        ids = [cell for batch in table.batches() for cell in batch.column(0).to_pylist()]
        known = set(data.splits["test"][ID])
        missing = [name for name in ids if name not in known]
        labels = data.task.label_names
        strangers = [name for name in header[1:] if name not in labels] if len(header) > 2 else []
        wrong = None
        if missing:
            wrong = f"asks for ids that test does not have, such as {missing[0]}"
        elif len(header) < 2:
            wrong = "has no column beside the id"
        elif strangers:
            wrong = f"asks for a column '{strangers[0]}', which is none of the labels {', '.join(labels)}"
        if wrong:
            raise UserError(f"{data.sample_submission} {wrong}: correct or remove it.")
        return cls(header, ids)

    def write(
        self, path: Path, test_ids: Sequence[str], predictions: Sequence[str], probabilities: np.ndarray, task: Task
    ) -> None:
        """Write the submission.

        Args:
            path: of the file.
            test_ids: `[rows]`, in the order of the test split; likewise `predictions`, one per row.
            predictions: written where the sample has one column beside the id that is no label of several.
            probabilities: `[rows, num_labels]`, written where the sample has a column for each label.
            task: of the run.
        """
        names = task.label_names
        asked = self.header[1:]
        of_labels = len(asked) > 1 or (task.problem_type == MULTI_LABEL and set(asked) <= set(names))
        cells: list[list[str]] = [[prediction] for prediction in predictions]
        if of_labels:
            columns = [names.index(name) for name in asked]
            cells = [[f"{row[i]:.8f}" for i in columns] for row in probabilities]
        of_id = dict(zip(test_ids, cells, strict=True))
        with writing(path) as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(self.header)
            out.writerows([name, *of_id[name]] for name in self.ids)
