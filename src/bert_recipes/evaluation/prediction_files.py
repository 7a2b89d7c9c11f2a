"""The two files of predictions in a run folder, written and read here alone.

`predictions.csv` has every row to predict; `validation_predictions.csv` the labelled rows, as a model that was not
trained on them saw them, for the report and for comparisons.
"""

import csv
import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from bert_recipes.columns import ID, LABEL, LOSS, PREDICTION, PREDICTION_AT_THRESHOLD
from bert_recipes.errors import UserError, some
from bert_recipes.evaluation.decoding import JOINT, label_texts_of, predictions_of
from bert_recipes.files import writing
from bert_recipes.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL

if TYPE_CHECKING:
    import pandas as pd

PREDICTIONS_FILE = "predictions.csv"
VALIDATION_FILE = "validation_predictions.csv"
FIXED = (ID, LABEL, PREDICTION, LOSS)


class PredictionWriter:
    """Writes the rows of `predictions.csv`: id, prediction, one probability column per label.

    Args:
        file: open for writing, without translation of line ends.
        label_names: `[num_labels]`.
        problem_type: what transformers calls the task.
        at_threshold: whether each row also has its prediction at the threshold.
    """

    def __init__(self, file: IO[str], label_names: list[str], problem_type: str, at_threshold: bool = False):
        self.out = csv.writer(file)
        self.columns = len(probability_columns(label_names, problem_type))
        more = [PREDICTION_AT_THRESHOLD] if at_threshold else []
        self.out.writerow([ID, PREDICTION, *label_names[: self.columns], *more])

    def write(
        self,
        ids: Iterable[str],
        predictions: Sequence[str],
        probabilities: np.ndarray,
        at_threshold: Sequence[str] | None = None,
    ) -> None:
        """Write some rows; probabilities are `[rows, num_labels]`."""
        more = ((),) * len(predictions) if at_threshold is None else ((cell,) for cell in at_threshold)
        for name, prediction, row, rest in zip(ids, predictions, probabilities, more, strict=True):
            self.out.writerow([name, prediction, *(f"{p:.8f}" for p in row[: self.columns]), *rest])


def read_probabilities(folder: Path, label_names: list[str], problem_type: str) -> np.ndarray:
    """Return the probabilities `[rows, num_labels]` that `predictions.csv` of a run folder holds.

    Raises:
        UserError: the file is missing or damaged.
    """
    path, first = folder / PREDICTIONS_FILE, 2 if probability_columns(label_names, problem_type) else 1
    try:
        with path.open(encoding="utf-8", newline="") as file:
            _, *rows = csv.reader(file)
        cells = [row[first : first + len(label_names)] for row in rows]
        return np.array(cells, dtype=float).reshape(len(rows), len(label_names))
    except FileNotFoundError as error:
        raise UserError(
            f"{folder} is no complete run: it has no {PREDICTIONS_FILE}; give its command again."
        ) from error
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({error}): run it again.") from error


def probability_columns(label_names: list[str], problem_type: str) -> list[str]:
    """Return the labels that have a column of probabilities, or of values."""
    # A regression of one target has its value in `prediction`: a column of its own would say it twice.
    return [] if problem_type == REGRESSION and len(label_names) == 1 else label_names


@dataclass
class Predictions:
    """Rows with their labels, probabilities and losses, in the order of the file they came from.

    Attributes:
        ids: `[rows]`.
        labels: class ids `[rows]`; of several labels or a regression, numbers `[rows, num_labels]`.
        probabilities: `[rows, num_labels]`; the values themselves in a regression.
        losses: per-example losses `[rows]`.
        label_names: `[num_labels]`.
        problem_type: what transformers calls the task.
        columns: what else is known of a row, by the column's name: `text` and, where there are such, `text_pair`, the
            data's other columns and `fold`.
    """

    ids: list[str]
    labels: np.ndarray
    probabilities: np.ndarray
    losses: np.ndarray
    label_names: list[str]
    problem_type: str
    columns: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def predicted(self) -> np.ndarray:
        """What is predicted, in the form of `labels`."""
        if self.problem_type == SINGLE_LABEL:
            return self.probabilities.argmax(axis=1)
        return (self.probabilities > 0.5).astype(float) if self.problem_type == MULTI_LABEL else self.probabilities

    @property
    def wrong(self) -> np.ndarray:
        """Whether a row is wrong, in any of its labels, `[rows]`; a regression knows no such thing."""
        differs = self.predicted != self.labels
        return differs if differs.ndim == 1 else differs.any(axis=1)

    @property
    def indicators(self) -> tuple[np.ndarray, np.ndarray]:
        """Whether each label holds and whether it is predicted, both `[rows, num_labels]`."""
        if self.problem_type == SINGLE_LABEL:
            every = np.arange(len(self.label_names))
            return self.labels[:, None] == every, self.predicted[:, None] == every
        return self.labels > 0.5, self.predicted > 0.5

    @property
    def label_texts(self) -> list[str]:
        """The labels as `predictions.csv` spells predictions, `[rows]`."""
        return label_texts_of(self.labels, self.label_names, self.problem_type)

    @property
    def prediction_texts(self) -> list[str]:
        """The predictions as `predictions.csv` spells them, `[rows]`."""
        return predictions_of(self.probabilities, self.label_names, self.problem_type)

    def select(self, rows: np.ndarray) -> "Predictions":
        """Return those of some rows, given by their numbers or by a mask."""
        numbers = np.arange(len(self.ids))[rows].tolist()
        return dataclasses.replace(
            self,
            ids=[self.ids[i] for i in numbers],
            labels=self.labels[rows],
            probabilities=self.probabilities[rows],
            losses=self.losses[rows],
            columns={name: [cells[i] for i in numbers] for name, cells in self.columns.items()},
        )

    def write(self, folder: Path) -> None:
        """Write `validation_predictions.csv`: the four fixed columns, one per label, then the others."""
        with writing(folder / VALIDATION_FILE) as file:
            out = csv.writer(file)
            out.writerow([*FIXED, *self.label_names, *self.columns])
            fixed = zip(self.ids, self.label_texts, self.prediction_texts, self.losses, strict=True)
            others = zip(*self.columns.values(), strict=True) if self.columns else ((),) * len(self.ids)
            for row, probabilities, rest in zip(fixed, self.probabilities, others, strict=True):
                out.writerow([*row[:3], f"{row[3]:.8f}", *(f"{p:.8f}" for p in probabilities), *rest])

    @classmethod
    def read(cls, folder: Path, label_names: list[str], problem_type: str) -> "Predictions":
        """Read them from a run folder.

        Raises:
            UserError: the file is missing, damaged or of other labels.
        """
        import pandas as pd

        path = folder / VALIDATION_FILE
        try:
            table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
            with path.open(encoding="utf-8", newline="") as file:
                header = next(csv.reader(file))
        except FileNotFoundError as error:
            raise UserError(
                f"{folder} is no complete run: it has no {VALIDATION_FILE}; give its command again."
            ) from error
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            raise UserError(f"{path} is damaged ({' '.join(str(error).split())}): run it again.") from error
        first, last = len(FIXED), len(FIXED) + len(label_names)
        if tuple(header[:first]) != FIXED or header[first:last] != label_names:
            raise UserError(f"{path} has not the columns {some([*FIXED, *label_names], most=20)}: run it again.")
        # By position: a column of the data may be called as a label is.
        cells = [table.iloc[:, i] for i in range(len(header))]
        try:
            return cls(
                ids=cells[0].tolist(),
                labels=_labels_from(cells[1], label_names, problem_type),
                probabilities=np.stack([c.to_numpy(dtype=np.float64) for c in cells[first:last]], axis=1),
                losses=cells[3].to_numpy(dtype=np.float64),
                label_names=label_names,
                problem_type=problem_type,
                columns={name: c.tolist() for name, c in zip(header[last:], cells[last:], strict=True)},
            )
        except (ValueError, KeyError) as error:
            raise UserError(f"{path} is damaged ({error}): run it again.") from error


def _labels_from(cells: "pd.Series[str]", names: list[str], problem_type: str) -> np.ndarray:
    number_of = {name: i for i, name in enumerate(names)}
    if problem_type == SINGLE_LABEL:
        return np.array([number_of[cell] for cell in cells], dtype=np.int64)
    if problem_type == REGRESSION:
        return np.array([[float(part) for part in cell.split(JOINT)] for cell in cells])
    labels = np.zeros((len(cells), len(names)))
    for i, cell in enumerate(cells):
        labels[i, [number_of[part] for part in cell.split(JOINT) if part]] = 1.0
    return labels
