"""A recipe's arguments once the data is known: what was guessed is written down, what does not fit is an error."""

import copy
from functools import cached_property
from pathlib import Path
from typing import Any

from bert_recipes.config.arguments import ModelArguments
from bert_recipes.config.parsing import Arguments
from bert_recipes.config.training_arguments import RecipeTrainingArguments
from bert_recipes.data.digests import digests
from bert_recipes.data.loading import TextData
from bert_recipes.errors import UserError
from bert_recipes.evaluation.metrics import LESS_IS_BETTER, choosing_score
from bert_recipes.runs.folder import RunFolder
from bert_recipes.runs.push import prepare_push
from bert_recipes.runs.submission import Submission
from bert_recipes.task import REGRESSION, SINGLE_LABEL


class RunSettings:
    """What a run is made with, settled before anything is written.

    Attributes:
        folder: the run folder.
        training: the arguments for the Trainer, a copy of the recipe's.
        start: how the recipe was started, where that is known.
        configuration: what `--config` would take to repeat the run, what was guessed from the data included.
        reading: which tokens of a text of more than `max_length` are read.

    Args:
        args: of the recipe.
        data: what `load_data` returned.
        model_dir: the folder of the pretrained model, or None where there is none.

    Raises:
        UserError: what was asked for does not fit the task, or the sample submission does not fit the test split.
    """

    def __init__(self, args: Arguments[Any], data: TextData, model_dir: str | None):
        self.recipe, self.start = args.name, args.start
        self.training, self.configuration = settle(args, data)
        self.folder = RunFolder(Path(args.training.output_dir))
        self.reading, self.max_length = args.data.reading, args.data.max_length
        self.data = data
        self.model_dir = model_dir
        self.submission = Submission.of(data, self.configuration)
        self.push = prepare_push(args, self.training)

    @cached_property
    def digests(self) -> dict[str, str]:
        """A digest of each split's ids, texts and labels."""
        return digests(self.data)

    @property
    def inputs(self) -> list[Path]:
        """What the run reads from: its data and its model."""
        names = [self.data.source, self.configuration["model"], *([self.model_dir] if self.model_dir else [])]
        return [Path(name).expanduser() for name in names]

    @property
    def keeps_the_best(self) -> bool:
        """Whether the model is the best of several checkpoints."""
        # The baseline has one model and no checkpoints, whatever a configuration of the other recipes says.
        return self.model_dir is not None and self.training.load_best_model_at_end


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
    if training.label_smoothing_factor and task.problem_type != SINGLE_LABEL:
        raise UserError(
            f"--label_smoothing_factor smooths the classes of a binary or multi-class task: a {task.name} task "
            "cannot honour it."
        )
    if args.data.decision == "threshold" and task.name != "binary":
        raise UserError(f"--decision threshold chooses between two labels: a {task.name} task cannot honour it.")
    name = choosing_score(configuration.get("metric_for_best_model"), task)
    training.metric_for_best_model = configuration["metric_for_best_model"] = name
    if "greater_is_better" not in configuration:
        training.greater_is_better = name not in LESS_IS_BETTER
    return training, configuration
