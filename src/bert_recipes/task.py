"""The task of a data set and the names of its labels.

The task is decided once, from the data and the flags (`data.labels`); models, losses and metrics read it from the
configuration as `problem_type` and never from the dtype of a batch.
"""

from dataclasses import dataclass

SINGLE_LABEL, MULTI_LABEL, REGRESSION = (
    "single_label_classification",
    "multi_label_classification",
    "regression",
)
# The tasks, and what transformers calls them in `config.problem_type`.
PROBLEM_TYPES = {
    "binary": SINGLE_LABEL,
    "multi-class": SINGLE_LABEL,
    "multi-label": MULTI_LABEL,
    "regression": REGRESSION,
}
TASKS = tuple(PROBLEM_TYPES)


@dataclass(frozen=True)
class Task:
    """The task of a data set.

    Attributes:
        name: `binary`, `multi-class`, `multi-label` or `regression`.
        label_names: in the order of the logits; of a regression the names of its targets.
        columns: the columns that hold the labels: one, or one per label or target.
        delimiter: between the labels of one cell, where the cells of a multi-label column are joined texts.
        multi_hot: whether the cells of a multi-label column are lists of 0 and 1, one for each label.
    """

    name: str
    label_names: list[str]
    columns: list[str]
    delimiter: str | None = None
    multi_hot: bool = False

    @property
    def problem_type(self) -> str:
        """What transformers calls the task, for the model's configuration."""
        return PROBLEM_TYPES[self.name]

    @property
    def num_labels(self) -> int:
        """How many logits a row has."""
        return len(self.label_names)

    @property
    def id2label(self) -> dict[int, str]:
        """Class ids to label names."""
        return dict(enumerate(self.label_names))

    @property
    def label2id(self) -> dict[str, int]:
        """Label names to class ids."""
        return {name: i for i, name in enumerate(self.label_names)}
