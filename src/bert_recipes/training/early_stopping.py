"""Early stopping that a resumed run keeps to: what it counts is counted anew from the log of the evaluations."""

import operator
from typing import Any

from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, TrainingArguments


class EarlyStopping(EarlyStoppingCallback):
    """transformers' own `EarlyStoppingCallback`, whose count does not depend on where a run was interrupted."""

    @property
    def is_over(self) -> bool:
        """Whether the training has stopped, or had when it was interrupted."""
        return bool(self.early_stopping_patience_counter >= self.early_stopping_patience)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count what the log of an interrupted run tells."""
        super().on_train_begin(args, state, control, **kwargs)
        self.early_stopping_patience_counter = 0
        best, state.best_metric = state.best_metric, None
        is_better = operator.gt if args.greater_is_better else operator.lt
        name = f"eval_{str(args.metric_for_best_model).removeprefix('eval_')}"
        for entry in state.log_history:
            if name in entry and not self.is_over:
                self.check_metric_value(args, state, control, entry[name])
                if state.best_metric is None or is_better(entry[name], state.best_metric):
                    state.best_metric = entry[name]
        state.best_metric = best
