"""The models of a run's folds as one: what they predict is the mean of what each of them does."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from bert_recipes.config.saved import saved_configuration
from bert_recipes.evaluation.decoding import mean_probabilities
from bert_recipes.inference.predictor import Predictor, RowsPredictor, chunks
from bert_recipes.inference.rows import TextRow
from bert_recipes.modeling.pretrained import folds_of


class FoldsPredictor(RowsPredictor):
    """The classifiers of a run's folds, which predict the mean of their probabilities, or of a regression's values.

    Args:
        parts: one for each fold, of the same labels.
        folder: of the whole run.
    """

    def __init__(self, parts: list[Predictor], folder: Path):
        self.parts = parts
        self.trained_on = saved_configuration(folder)
        self.strange: dict[str, int] = {}

    @property
    def label_names(self) -> list[str]:
        """The labels in the order of the probabilities, `[num_labels]`."""
        return self.parts[0].label_names

    @property
    def problem_type(self) -> str:
        """What transformers calls the task."""
        return self.parts[0].problem_type

    def probabilities(self, rows: Iterable[TextRow]) -> Iterator[tuple[list[TextRow], np.ndarray]]:
        """As `Predictor.probabilities`, of all folds."""
        strange: Counter[str] = Counter()
        for chunk in chunks(rows, self.parts[0].columns):
            found = [np.concatenate([part for _, part in one.probabilities(chunk)]) for one in self.parts]
            # Each fold has its own training rows: what one of them knows, another may not.
            strange += Counter({name: max(one.strange[name] for one in self.parts) for name in self.parts[0].strange})
            self.strange = dict(strange)
            yield chunk, mean_probabilities(found)


def load_predictor(
    name: str, *, max_length: int | None = None, bf16: bool | None = None, trust_remote_code: bool = False
) -> RowsPredictor:
    """As `Predictor.load`; a run with a model for each fold is loaded as the mean of them, which is said.

    Args:
        name: a run folder, a model folder or a Hub id.
        max_length: by default what the run was trained with, or else the most that the model takes.
        bf16: whether to compute in bfloat16; by default where the device has it natively.
        trust_remote_code: whether code that the models carry may run.

    Raises:
        UserError: as `Predictor.load`; or not all folds are finished.
    """

    def load(one: str) -> Predictor:
        return Predictor.load(one, max_length=max_length, bf16=bf16, trust_remote_code=trust_remote_code)

    folds = folds_of(name)
    return FoldsPredictor([load(fold) for fold in folds], Path(name).expanduser()) if folds else load(name)
