"""The baseline as a predictor: it saves no model, and is fitted again to the data of its run."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bert_recipes.columns import LABELS
from bert_recipes.config.saved import METRICS_FILE, saved_configuration
from bert_recipes.data.again import read_again
from bert_recipes.data.splits import column
from bert_recipes.inference.batches import chunks
from bert_recipes.inference.rows import TextRow
from bert_recipes.inference.rows_predictor import RowsPredictor
from bert_recipes.modeling.baseline import Baseline, texts_of

# Trainer's own default, which run.yaml does not repeat.
SEED = 42


class BaselinePredictor(RowsPredictor):
    """A baseline that has been fitted.

    Args:
        model: the baseline.
        trained_on: the configuration of its run.
    """

    def __init__(self, model: Baseline, trained_on: dict[str, Any]):
        self.model, self.trained_on = model, trained_on
        self.columns: dict[str, dict[str, Any]] = {}
        self.strange: dict[str, int] = {}

    @property
    def label_names(self) -> list[str]:
        """The labels in the order of the probabilities, `[num_labels]`."""
        return self.model.task.label_names

    @property
    def problem_type(self) -> str:
        """What transformers calls the task."""
        return self.model.task.problem_type

    def probabilities(self, rows: Iterable[TextRow]) -> Iterator[tuple[list[TextRow], np.ndarray]]:
        """As `RowsPredictor.probabilities`."""
        for chunk in chunks(rows):
            texts = [row.text if row.text_pair is None else f"{row.text} {row.text_pair}" for row in chunk]
            yield chunk, self.model.predict(texts)


def fitted_folds(folder: Path) -> list[BaselinePredictor]:
    """Return the baselines of a run's folds, fitted as the run did.

    Raises:
        UserError: the run's data cannot be read again, or are not what they were.
    """
    configuration = saved_configuration(folder)
    data = read_again(folder)
    train, k = data.splits["train"], int(configuration["folds"])
    fold_of = data.folds(k, configuration["split_seed"])
    texts, labels = np.array(texts_of(train), dtype=object), column(train, LABELS)
    fitted = []
    for fold in range(k):
        model = Baseline(data.task, configuration.get("seed", SEED), configuration.get("normalize"))
        model.fit(texts[fold_of != fold].tolist(), labels[fold_of != fold])
        predictor = BaselinePredictor(model, configuration)
        predictor.files = [folder / METRICS_FILE]
        fitted.append(predictor)
    return fitted
