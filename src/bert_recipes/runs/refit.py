"""One model of all labelled rows, trained after the folds of `--folds` where `--refit` asks for it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from accelerate import PartialState
from datasets import DatasetDict
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from bert_recipes.config.parsing import Arguments
from bert_recipes.config.training_arguments import RecipeTrainingArguments
from bert_recipes.errors import some
from bert_recipes.files import read_json, write_json
from bert_recipes.runs.run import Run, train_scores, write_model
from bert_recipes.training.callbacks import early_stopping_callbacks, with_own_objects
from bert_recipes.training.trainer import RecipeTrainer


class Refit(Run):
    """The training on all rows; there are none to validate it on, and its model is that of the whole run.

    It takes as long as the folds took to their best checkpoints on average, where these were kept, and else as long as
    each of them.

    Args:
        args: of the recipe.
        tokenized: what `tokenize` returned.
        whole: the run of all folds.
        parts: the folds, finished.
    """

    whole: Run

    def __init__(self, args: Arguments[Any], tokenized: DatasetDict, whole: Run, parts: Sequence[Run]):
        length = best_length(args.training, parts) if whole.keeps_the_best else {}
        own = dataclasses.replace(args, training=_without_validation(args.training, length))
        own.training.output_dir = str(whole.folder.refit.path)
        rows = DatasetDict(train=whole.data.splits["train"])
        data = dataclasses.replace(whole.data, splits=rows, sample=None, notes=[])
        super().__init__(own, data, DatasetDict(train=tokenized["train"]), whole.model_dir, whole=whole)
        self.title = f"All rows{_how(length, args.training)}"

    @property
    def is_done(self) -> bool:
        """Whether its model is there."""
        return self.whole.folder.model.is_dir()

    def finish(self, trainer: RecipeTrainer) -> None:
        """Write how it was trained, and the model into the folder of the whole run."""
        if PartialState().is_main_process:
            write_json(self.folder.trainer_state, dataclasses.asdict(trainer.state))
        write_model(self, self.whole.folder, trainer)

    @property
    def scores(self) -> dict[str, Any]:
        """What metrics.json is to hold of it, once it is done: its length and what it cost."""
        state = read_json(self.folder.trainer_state)
        return {"steps": state["global_step"]} | train_scores(state["log_history"])


def best_length(training: RecipeTrainingArguments, folds: Sequence[Run]) -> dict[str, float]:
    """Return `num_train_epochs`, or `max_steps` where that was given, up to the folds' best checkpoints on average.

    That is one step at least.
    """
    states = [read_json(fold.folder.trainer_state) for fold in folds]
    best = [_best_step(state) for state in states]
    if training.max_steps > 0:
        return {"max_steps": round(np.mean(best))}
    shares = [step / state["max_steps"] for step, state in zip(best, states, strict=True)]
    # Epochs and not steps: all rows make more steps than those of a fold do.
    return {"num_train_epochs": float(training.num_train_epochs * np.mean(shares))}


def _how(length: dict[str, float], training: RecipeTrainingArguments) -> str:
    shown = {name: str(value) if isinstance(value, int) else f"{value:.3g}" for name, value in length.items()}
    said = [f"{name} {value}, the mean of the folds' best" for name, value in shown.items()]
    if stopping := early_stopping_callbacks(training):
        said.append(f"without {some(stopping)}, since there are no evaluations to stop by")
    return f" ({'; '.join(said)})" if said else ""


def _best_step(state: dict[str, Any]) -> int:
    best = state["best_model_checkpoint"]
    return max(1, int(best.rpartition("-")[2]) if best else state["global_step"])


def _without_validation(training: RecipeTrainingArguments, length: dict[str, float]) -> RecipeTrainingArguments:
    own = with_own_objects(training)
    own.eval_strategy, own.eval_on_start = IntervalStrategy.NO, False
    own.load_best_model_at_end, own.early_stopping_patience = False, None
    own.push_to_hub = False
    # They are of no use without evaluations, and transformers' own dies without.
    stopping = early_stopping_callbacks(training)
    own.callbacks = [spec for spec in training.callbacks or [] if spec not in stopping] or None
    if own.save_strategy == SaveStrategy.BEST:
        own.save_strategy = SaveStrategy.EPOCH
    for name, value in length.items():
        setattr(own, name, value)
    return own
