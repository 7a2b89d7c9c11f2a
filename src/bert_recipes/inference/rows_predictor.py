"""What predicts rows, whichever model it holds, and how its predictions are written."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from bert_recipes.columns import PREDICTION
from bert_recipes.evaluation.decoding import predictions_of
from bert_recipes.evaluation.prediction_files import PredictionWriter, probability_columns
from bert_recipes.inference.rows import TextRow, rows_from_python

if TYPE_CHECKING:
    import pandas as pd


class RowsPredictor(ABC):
    """What predicts rows.

    Attributes:
        trained_on: the configuration of the run that made it, where it is known.
        strange: by column that it takes beside the text, how many of the rows predicted last have no value in it, or
            one that the training rows did not have.
        files: from which it was loaded.
        computing: how each of its models computes, as in `bfloat16 on cpu, up to 128 tokens`.
    """

    trained_on: dict[str, Any]
    strange: dict[str, int]
    files: Sequence[Path] = ()
    computing: Sequence[str] = ()

    @property
    @abstractmethod
    def label_names(self) -> list[str]:
        """The labels in the order of the probabilities, `[num_labels]`."""

    @property
    @abstractmethod
    def problem_type(self) -> str:
        """What transformers calls the task."""

    @abstractmethod
    def probabilities(self, rows: Iterable[TextRow]) -> Iterator[tuple[list[TextRow], np.ndarray]]:
        """Yield chunks of rows with their probabilities, `[rows, num_labels]`, in the order in which they came."""

    def probabilities_of(self, rows: Iterable[TextRow]) -> np.ndarray:
        """Return the probabilities of rows at once, `[rows, num_labels]`."""
        return np.concatenate([np.empty((0, len(self.label_names))), *(part for _, part in self.probabilities(rows))])

    def compute_side_by_side(self) -> None:  # noqa: B027
        """From now on compute as many batches at once as there are threads, each on one, where that can be.

        A matrix product on several threads differs in its last bits with their number. So computed, a row's scores are
        the same on any number of threads. A single batch takes longer.
        """

    @property
    def notes(self) -> list[str]:
        """What should be known of the rows that were predicted last, as sentences."""
        return notes_of(self.strange)

    def predict(self, rows: Any) -> "pd.DataFrame":
        """Return a DataFrame with `prediction` and one probability column per label, a row for each of `rows`.

        Args:
            rows: a text, a list of texts or of pairs of them, a Series, a DataFrame or a `datasets.Dataset`. The index
                of a Series or a DataFrame is kept.

        Raises:
            UserError: it is something else, or the text's column is not found in it.
        """
        import pandas as pd

        probabilities = self.probabilities_of(rows_from_python(rows, self.trained_on))
        if notes := self.notes:
            from bert_recipes import terminal

            for note in notes:
                terminal.say(note)
        columns = probability_columns(self.label_names, self.problem_type)
        frame = pd.DataFrame(probabilities[:, : len(columns)], columns=columns)
        # A label may be called `prediction` too.
        frame.insert(
            0, PREDICTION, predictions_of(probabilities, self.label_names, self.problem_type), allow_duplicates=True
        )
        return frame.set_axis(rows.index, axis=0) if isinstance(rows, pd.DataFrame | pd.Series) else frame


def notes_of(strange: Mapping[str, int]) -> list[str]:
    """Return what should be known of rows, as sentences.

    Args:
        strange: by column, how many of the rows have no value in it, or one that the training rows did not have.
    """
    return [
        f"Column '{name}': {count:,} {'row has' if count == 1 else 'rows have'} none, or one that the training rows "
        "did not have."
        for name, count in strange.items()
        if count
    ]


def write_predictions(file: IO[str], predictor: RowsPredictor, rows: Iterable[TextRow]) -> Iterator[int]:
    """Write `id`, `prediction` and a column of probabilities per label for a stream of rows, as a run does.

    A model of several labels predicts those over one half, joined by `|`; of a regression the values are written.
    The header waits for the first chunk: rows that cannot be read at all leave nothing.

    Yields:
        After each chunk, how many rows are written.
    """
    chunks = predictor.probabilities(rows)
    first = list(itertools.islice(chunks, 1))
    out = PredictionWriter(file, predictor.label_names, predictor.problem_type)
    written = 0
    for chunk, probabilities in itertools.chain(first, chunks):
        predictions = predictions_of(probabilities, predictor.label_names, predictor.problem_type)
        out.write((row.id for row in chunk), predictions, probabilities)
        written += len(chunk)
        yield written
