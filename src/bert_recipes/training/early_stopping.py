"""Early stopping that a resumed run keeps to: what it counts is counted anew from the log of the evaluations."""

from typing import Any

from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, TrainingArguments


class EarlyStopping(EarlyStoppingCallback):
    """transformers' own `EarlyStoppingCallback`, whose count does not depend on where a run was interrupted.

    Attributes:
        is_over: whether the training has stopped, or had when it was interrupted.

    Args:
        patience: evaluations in a row without an improvement, after which the training stops.
        threshold: what the score must change by to have improved.
    """

    def __init__(self, patience: int, threshold: float):
        super().__init__(patience, threshold)
        self.is_over = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count what the log of an interrupted run tells."""
        super().on_train_begin(args, state, control, **kwargs)
        self.early_stopping_patience_counter, self.is_over = 0, False
        best, state.best_metric = state.best_metric, None
        name = f"eval_{str(args.metric_for_best_model).removeprefix('eval_')}"
        for entry in state.log_history:
            if name in entry and not self.is_over:
                score = entry[name]
                self._count(args, state, control, score)
                better = state.best_metric is None or (score > state.best_metric) == bool(args.greater_is_better)
                if better and score != state.best_metric:
                    state.best_metric = score
        state.best_metric = best

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Count an evaluation, and stop the training after the last one that is waited for."""
        name = f"eval_{str(args.metric_for_best_model).removeprefix('eval_')}"
        self._count(args, state, control, (metrics or {})[name])
        control.should_training_stop |= self.is_over

    def _count(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, score: float) -> None:
        self.check_metric_value(args, state, control, score)
        self.is_over = self.early_stopping_patience_counter >= self.early_stopping_patience
