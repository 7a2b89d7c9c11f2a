"""A recipe's arguments once the data is known: what was guessed is written down, what does not fit is an error."""

import copy
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers.trainer_utils import SchedulerType

from bert_recipes.config.arguments import CustomArguments, ModelArguments
from bert_recipes.config.parsing import Arguments
from bert_recipes.config.training_arguments import RecipeTrainingArguments
from bert_recipes.data.digests import digests
from bert_recipes.data.extra_columns import columns_to_choose_from
from bert_recipes.data.loading import TextData
from bert_recipes.errors import UserError
from bert_recipes.evaluation.metrics import LESS_IS_BETTER, choosing_score
from bert_recipes.modeling.own_classifier import own_columns
from bert_recipes.runs.folder import RunFolder
from bert_recipes.runs.push import prepare_push
from bert_recipes.runs.resuming import chosen_checkpoint
from bert_recipes.runs.submission import Submission
from bert_recipes.task import REGRESSION, SINGLE_LABEL
from bert_recipes.training.callbacks import check_callbacks

# Schedules that set the learning rate by the score of each evaluation.
BY_EVALUATIONS = {"reduce_lr_on_plateau", "greedy"}


class RunSettings:
    """What a run is made with, settled before anything is written.

    Attributes:
        folder: the run folder.
        training: the arguments for the Trainer, a copy of the recipe's.
        start: how the recipe was started, where that is known.
        configuration: what `--config` would take to repeat the run, what was guessed from the data included.
        chosen: the checkpoint that was asked for to go on from, or None.
        reading: which tokens of a text of more than `max_length` are read.

    Args:
        args: of the recipe.
        data: what `load_data` returned.
        model_dir: the folder of the pretrained model, or None where there is none.

    Raises:
        UserError: what was asked for does not fit the task, the sample submission does not fit the test split, or the
            checkpoint that was asked for is none of this run's.
    """

    def __init__(self, args: Arguments[Any], data: TextData, model_dir: str | None):
        self.recipe, self.start = args.name, args.start
        self.training, self.configuration = settle(args, data)
        self.folder = RunFolder(Path(args.training.output_dir))
        self.chosen = self._chosen_checkpoint(args, model_dir)
        self.reading, self.max_length = args.data.reading, args.data.max_length
        self.data = data
        self.model_dir = model_dir
        self.submission = Submission.of(data, self.configuration)
        self.push = prepare_push(args, self.training)
        check_callbacks(self.training)
        if args.data.refit:
            _check_refit(args.training, model_dir)

    def _chosen_checkpoint(self, args: Arguments[Any], model_dir: str | None) -> Path | None:
        name = args.training.resume_from_checkpoint
        if not name:
            return None
        if model_dir is None or args.data.folds:
            why = "with --folds there are several trainings" if model_dir else "the baseline has no checkpoints"
            raise UserError(
                f"--resume_from_checkpoint {name} cannot be honoured: {why}; leave it out, since an interrupted run "
                "goes on by itself."
            )
        if args.training.overwrite:
            raise UserError("--overwrite would remove what --resume_from_checkpoint names: leave out one of them.")
        return chosen_checkpoint(name, self.folder.checkpoints)

    @cached_property
    def digests(self) -> dict[str, str]:
        """A digest of each split's ids, texts and labels, and of each column that the model takes beside them."""
        return digests(self.data, self.configuration.get("extra_columns") or ())

    @property
    def inputs(self) -> list[Path]:
        """What the run reads from: its data and its model."""
        names = [self.data.source, self.configuration["model"], *([self.model_dir] if self.model_dir else [])]
        return [Path(name).expanduser() for name in names]

    @property
    def has_folds_alone(self) -> bool:
        """Whether there is a model for each fold, and none of all rows."""
        return bool(self.configuration["folds"]) and not self.configuration["refit"]

    @property
    def keeps_the_best(self) -> bool:
        """Whether the model is the best of several checkpoints."""
        # The baseline has one model and no checkpoints, whatever a configuration of the other recipes says.
        return self.model_dir is not None and self.training.load_best_model_at_end


def _check_refit(training: RecipeTrainingArguments, model_dir: str | None) -> None:
    if model_dir is None:
        raise UserError("--refit cannot be honoured: the baseline saves no model.")
    schedule = SchedulerType(training.lr_scheduler_type).value
    if schedule in BY_EVALUATIONS:
        raise UserError(
            f"--refit trains on all rows without an evaluation, by which --lr_scheduler_type {schedule} sets the "
            "learning rate: take another schedule, or leave out --refit."
        )


def check_decision(decision: str, task: str) -> None:
    """Check that a task can be decided in that way.

    Raises:
        UserError: it cannot.
    """
    if decision == "threshold" and task != "binary":
        raise UserError(
            f"--decision threshold chooses between two labels, and a {task} task cannot honour it: give "
            "--decision argmax."
        )


def settle(args: Arguments[ModelArguments], data: TextData) -> tuple[RecipeTrainingArguments, dict[str, Any]]:
    """Return the training arguments of a run, a copy, and its configuration, what was guessed included.

    Raises:
        UserError: what was asked for does not fit the task.
    """
    training, configuration = copy.copy(args.training), args.configuration
    task = data.task
    one_column = len(data.columns.label) == 1 and task.problem_type != REGRESSION
    # So that the repeat does not have to guess.
    configuration |= {
        "dataset": [data.source],
        "text_column": data.columns.text,
        "text_pair_column": data.columns.text_pair,
        "label_column": data.columns.label,
        "id_column": data.columns.id,
        "task": task.name,
        "label_delimiter": task.delimiter,
        "labels": task.label_names if one_column else None,
    }
    if isinstance(args.model, CustomArguments) and args.model.classifier:
        configuration["extra_columns"] = own_columns(args.model, columns_to_choose_from(data.splits["train"]))
    if training.label_smoothing_factor and task.problem_type != SINGLE_LABEL:
        raise UserError(
            f"--label_smoothing_factor smooths the classes of a binary or multi-class task: a {task.name} task "
            "cannot honour it."
        )
    check_decision(args.data.decision, task.name)
    name = choosing_score(configuration.get("metric_for_best_model"), task)
    training.metric_for_best_model = configuration["metric_for_best_model"] = name
    if "greater_is_better" not in configuration:
        training.greater_is_better = name not in LESS_IS_BETTER
    return training, configuration
