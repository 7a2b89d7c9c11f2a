"""Several models as one, those of a run's folds or the runs of a blend: what they predict is the mean of theirs."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bert_recipes import terminal
from bert_recipes.config.saved import saved_configuration
from bert_recipes.errors import UserError
from bert_recipes.evaluation.decoding import mean_probabilities
from bert_recipes.inference.baseline import BaselinePredictor, fitted_folds
from bert_recipes.inference.batches import chunks
from bert_recipes.inference.predictor import Predictor
from bert_recipes.inference.rows import TextRow
from bert_recipes.inference.rows_predictor import RowsPredictor
from bert_recipes.modeling.pretrained import folds_of, members_of


class MeanPredictor(RowsPredictor):
    """Classifiers that predict the mean of their probabilities, or of a regression's values.

    Args:
        parts: one for each fold, or each run of a blend, of the same labels.
        folder: of the whole run, or the blend.
        weights: of the parts, which sum to one; by default all weigh the same.
    """

    def __init__(
        self,
        parts: "Sequence[Predictor | BaselinePredictor | MeanPredictor]",
        folder: Path,
        weights: list[float] | None = None,
    ):
        self.parts, self.weights = parts, weights
        self.trained_on = saved_configuration(folder)
        self.columns: dict[str, Any] = {name: known for part in parts for name, known in part.columns.items()}
        self.strange: dict[str, int] = {}
        self.files = [file for part in parts for file in part.files]
        self.computing = [how for part in parts for how in part.computing]

    @property
    def label_names(self) -> list[str]:
        """The labels in the order of the probabilities, `[num_labels]`."""
        return self.parts[0].label_names

    @property
    def problem_type(self) -> str:
        """What transformers calls the task."""
        return self.parts[0].problem_type

    def compute_side_by_side(self) -> None:
        """As `RowsPredictor.compute_side_by_side`, of all parts."""
        for part in self.parts:
            part.compute_side_by_side()

    def probabilities(self, rows: Iterable[TextRow]) -> Iterator[tuple[list[TextRow], np.ndarray]]:
        """As `Predictor.probabilities`, of all parts."""
        strange: Counter[str] = Counter()
        for chunk in chunks(rows, self.columns):
            found = [one.probabilities_of(chunk) for one in self.parts]
            # Each part has its own training rows: what one of them knows, another may not.
            strange += Counter({name: max(one.strange.get(name, 0) for one in self.parts) for name in self.columns})
            self.strange = dict(strange)
            yield chunk, mean_probabilities(found, self.weights)


def load_trained(
    name: str, *, max_length: int | None = None, bf16: bool | None = None, trust_remote_code: bool = False
) -> Predictor | MeanPredictor:
    """As `Predictor.load`; a run with a model for each fold is loaded as the mean of them, which is said.

    A blend is loaded as the weighted mean of its runs.

    Args:
        name: a run folder, a model folder or a Hub id.
        max_length: by default what the run was trained with, or else the most that the model takes.
        bf16: whether to compute in bfloat16; by default where the device has it natively.
        trust_remote_code: whether code that the models carry may run.

    Raises:
        UserError: as `Predictor.load`; not all folds are finished; or a run of a blend is not there any more, has
            other labels now, or is a baseline whose data cannot be read again.
    """

    def load(one: str) -> Predictor:
        return Predictor.load(one, max_length=max_length, bf16=bf16, trust_remote_code=trust_remote_code)

    def load_run(one: str) -> Predictor | MeanPredictor:
        folder = Path(one).expanduser()
        folds = folds_of(one)
        return MeanPredictor([load(fold) for fold in folds], folder) if folds else load(one)

    members = members_of(name)
    if not members:
        return load_run(name)
    parts: list[Predictor | MeanPredictor] = []
    for folder, _ in members:
        if saved_configuration(folder).get("recipe") == "baseline":
            print(terminal.printable(f"{folder} saves no model: it is fitted again to its data."), file=sys.stderr)
            parts.append(MeanPredictor(fitted_folds(folder), folder))
        else:
            parts.append(load_run(str(folder)))
        if (parts[0].label_names, parts[0].problem_type) != (parts[-1].label_names, parts[-1].problem_type):
            raise UserError(f"--model {name} cannot predict: {folder} has other labels now than the rest of its runs.")
    return MeanPredictor(parts, Path(name).expanduser(), [weight for _, weight in members])
