"""A finished run and a comparison of several, as Python sees them: scores, model, verdicts, page."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bert_recipes.config.saved import METRICS_FILE, saved_configuration
from bert_recipes.config.start import check_finished
from bert_recipes.evaluation.titles import MAIN_SCORES, SCORED_SPLITS, in_a_line
from bert_recipes.files import read_json

if TYPE_CHECKING:
    import pandas as pd

    from bert_recipes.inference.rows_predictor import RowsPredictor
    from bert_recipes.reporting.verdicts import Verdict


class FinishedRun:
    """A finished run.

    Args:
        folder: of the run.
        trust_remote_code: whether code that its model carries may run.

    Raises:
        UserError: from its attributes, where the folder holds no run or an unfinished one.
    """

    def __init__(self, folder: str | Path, *, trust_remote_code: bool = False):
        self.folder = Path(folder).expanduser()
        self.trust_remote_code = trust_remote_code

    @cached_property
    def configuration(self) -> dict[str, Any]:
        """What run.yaml holds."""
        return saved_configuration(self.folder)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds: `train`, `validation`, `test` where it is labelled, and `environment`."""
        check_finished(self.folder, str(self.folder))
        return read_json(self.folder / METRICS_FILE)

    @cached_property
    def predictor(self) -> "RowsPredictor":
        """The model, or those of the folds as one, loaded when it is first used."""
        from bert_recipes.inference.loading import load_predictor

        return load_predictor(str(self.folder), trust_remote_code=self.trust_remote_code)

    def predict(self, rows: Any) -> "pd.DataFrame":
        """Return a DataFrame with `prediction` and one probability column per label; see `RowsPredictor.predict`."""
        return self.predictor.predict(rows)

    def __repr__(self) -> str:
        scores = [
            f"{split}: {in_a_line(self.metrics[split], MAIN_SCORES)}"
            for split in SCORED_SPLITS
            if split in self.metrics
        ]
        return f"<{self.configuration['recipe']} run in {self.folder}: {'; '.join(scores)}>"

    def _repr_html_(self) -> str:
        from bert_recipes.reporting.notebook import run_html

        return run_html(self.folder, self.metrics)


@dataclass(frozen=True)
class FinishedComparison:
    """A comparison of finished runs.

    Attributes:
        folder: of its report.
        scores: by the name of a run, or of several that differ in their seeds, and by score: for a person to read.
        verdicts: for every pair.
    """

    folder: Path
    scores: dict[str, dict[str, str]]
    verdicts: "list[Verdict]"

    def __repr__(self) -> str:
        return "\n".join(sentence for v in self.verdicts for sentence in v.sentences.values())

    def _repr_html_(self) -> str:
        from bert_recipes.reporting.notebook import comparison_html

        return comparison_html(self.folder, self.scores, self.verdicts)
