"""Optuna's trials of the custom recipe, kept in SQLite."""

import contextlib
import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import AutoConfig, PretrainedConfig
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from bert_recipes import terminal
from bert_recipes.config.arguments import CustomArguments, SearchArguments
from bert_recipes.config.parsing import Arguments
from bert_recipes.config.saved import check_same_configuration
from bert_recipes.data.digests import digests
from bert_recipes.data.extra_columns import columns_to_choose_from
from bert_recipes.data.loading import TextData
from bert_recipes.data.seen_rows import seen_before
from bert_recipes.errors import UserError
from bert_recipes.evaluation.metrics import LESS_IS_BETTER, choosing_score
from bert_recipes.files import read_yaml, write_yaml
from bert_recipes.modeling import cpu_kernels
from bert_recipes.modeling.going_on import read_otherwise
from bert_recipes.modeling.loading import custom_config
from bert_recipes.modeling.own_classifier import own_columns
from bert_recipes.modeling.pooling import POOLINGS
from bert_recipes.owned_folder import OwnedFolder, holding
from bert_recipes.training.checkpoints import StopOnSignal
from bert_recipes.training.trackers import TRACKED
from bert_recipes.training.trainer import PerExampleTrainer

if TYPE_CHECKING:
    import optuna

STUDY = "custom"
# What a search writes.
SEARCH_FILES = (
    "search.yaml",
    "best.yaml",
    "trials.sqlite3",
    "trials.sqlite3-journal",
    "trials/run-*/**",
    f"trials/{TRACKED}",
)
BATCH_SIZES = (16, 32, 64)
# Trials that are always run to the end, so that there is a median to fall behind.
STARTUP_TRIALS = 5


class Search:
    """A search for settings of the custom recipe.

    Args:
        args: of the script.
        data: what `load_data` returned.
        model_dir: the folder of the pretrained model.

    Raises:
        UserError: Optuna is not installed, or something was asked for that a search cannot honour.
    """

    def __init__(self, args: Arguments[SearchArguments], data: TextData, model_dir: str):
        if importlib.util.find_spec("optuna") is None:
            raise UserError("a search needs Optuna, which is not installed: pip install -e '.[search]'.")
        if args.data.folds:
            raise UserError("--folds cannot be honoured: a search validates each trial once.")
        if args.training.resume_from_checkpoint:
            raise UserError("--resume_from_checkpoint cannot be honoured: the same command goes on with a search.")
        evaluates = IntervalStrategy(args.training.eval_strategy)
        if evaluates != IntervalStrategy.EPOCH:
            raise UserError(
                f"--eval_strategy {evaluates.value} cannot be honoured: a search evaluates each "
                "trial after every epoch, by which trials that fall behind are ended."
            )
        if args.training.world_size > 1:
            raise UserError("a search runs in one process; start it twice with the same --output_dir for two at once.")
        if custom_config(model_dir):
            raise UserError(
                f"--model {args.model.model} is a model of the custom recipe, whose pooling and head are chosen: a "
                "search starts from an encoder or a stock model."
            )
        self.args = args
        own = args.model.classifier
        columns = own_columns(args.model, columns_to_choose_from(data.splits["train"])) if own else []
        self.digests = digests(data, columns)
        notes = (seen_before(args.model.model, data, self.digests), read_otherwise(args, model_dir))
        self.warnings = [sentence for sentence in notes if sentence]
        self.poolings = fitting_poolings(
            AutoConfig.from_pretrained(model_dir, trust_remote_code=args.model.trust_remote_code)
        )
        self.folder = Path(args.training.output_dir)
        self.owned = OwnedFolder(self.folder, "search", SEARCH_FILES)
        self.written = self.folder / "search.yaml"
        self.storage = f"sqlite:///{self.folder / 'trials.sqlite3'}"
        self.score = choosing_score(args.configuration.get("metric_for_best_model"), data.task)
        training = self.training = copy.copy(args.training)
        training.metric_for_best_model = self.score
        training.save_strategy = SaveStrategy.NO
        training.load_best_model_at_end = False
        training.output_dir = str(self.folder / "trials")

    def space(self, trial: "optuna.Trial") -> dict[str, Any]:
        """Draw and return those of a trial's settings that are Trainer's."""
        return {
            "learning_rate": trial.suggest_float("learning_rate", 2e-5, 4e-4, log=True),
            "num_train_epochs": trial.suggest_int("num_train_epochs", 1, 4),
            "per_device_train_batch_size": trial.suggest_categorical("per_device_train_batch_size", BATCH_SIZES),
        }

    def model_arguments(self, trial: "optuna.Trial | None") -> CustomArguments:
        """Draw a trial's other settings into the recipe's own arguments; without a trial these are as they were.

        Of a classifier of the user's own there are none: what its parts are is its own affair.
        """
        if trial is None:
            return self.args.model
        drawn = copy.copy(self.args.model)
        if drawn.classifier is None:
            drawn.pooling = str(trial.suggest_categorical("pooling", self.poolings))
            drawn.layer_decay = trial.suggest_float("layer_decay", 0.7, 1.0)
        return drawn

    def trainer(self, model_init: Callable[..., Any], **kwargs: Any) -> "SearchTrainer":
        """Return the trainer of all trials, which builds a model for each with `model_init(trial)`."""
        return SearchTrainer(args=self.training, model_init=model_init, search=self, **kwargs)

    def run(self, trainer: "SearchTrainer") -> dict[str, Any]:
        """Make the trials that are still to be made; return the best configuration, as the custom recipe takes it.

        Raises:
            UserError: the folder holds the trials of another configuration or of other data.
        """
        import optuna

        with holding(self.owned, shared=not self.training.overwrite):
            self.owned.undo_setting_aside()
            if self.training.overwrite and self.written.is_file():
                used = (self.args.model.model, *self.args.data.dataset)
                self.owned.check_replaceable([Path(name).expanduser() for name in used])
                self.owned.set_aside(finished=(self.folder / "best.yaml").is_file())
            study = self._open(optuna)
            for sentence in self.warnings:
                terminal.warn(sentence)
            wanted = self.args.model.trials
            if made := _ended(study, optuna):
                terminal.say(f"{made} of {wanted} trials are made already.")
            while _ended(study, optuna) < wanted:
                self._make_trial(trainer, study, optuna)
            self.owned.drop_replaced()
        best = study.best_trial
        terminal.say(f"The best of {wanted} trials is number {best.number}: validation {self.score} {best.value:.4f}.")
        own = {k: v for k, v in self.args.configuration.items() if k not in ("trials", "output_dir", "recipe")}
        return {"recipe": "custom", **own, **best.params}

    def _open(self, optuna: Any) -> "optuna.Study":
        asked = self.args.configuration | {"metric_for_best_model": self.score, "data": self.digests}
        if self.written.is_file():
            check_same_configuration(self.folder, "trials", read_yaml(self.written), asked, ignored={"trials"})
        elif self.owned.strangers():
            raise UserError(f"--output_dir {self.folder} is not empty and holds no search: name another.")
        write_yaml(self.written, asked)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        direction = "minimize" if self.score in LESS_IS_BETTER else "maximize"
        return optuna.create_study(study_name=STUDY, storage=self.storage, direction=direction, load_if_exists=True)

    def _make_trial(self, trainer: "SearchTrainer", study: "optuna.Study", optuna: Any) -> None:
        trainer.hyperparameter_search(
            hp_space=self.space,
            compute_objective=lambda metrics: metrics[f"eval_{self.score}"],
            n_trials=1,
            direction=study.direction.name.lower(),
            backend="optuna",
            study_name=STUDY,
            storage=self.storage,
            load_if_exists=True,
            # Drawn by the number of trials that have ended: one that was killed is drawn again as it was.
            sampler=optuna.samplers.TPESampler(seed=self.training.seed + _ended(study, optuna)),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_min_trials=STARTUP_TRIALS),
        )


def fitting_poolings(config: PretrainedConfig) -> list[str]:
    """Return the poolings to search among: all that an encoder of this configuration has enough layers for."""
    found = []
    for name, pooling in POOLINGS.items():
        with contextlib.suppress(ValueError):
            pooling(config)
            found.append(name)
    found.remove("pooler")  # not every encoder has one
    return found


def _ended(study: "optuna.Study", optuna: Any) -> int:
    states = optuna.trial.TrialState
    return len(study.get_trials(states=(states.COMPLETE, states.PRUNED)))


class SearchTrainer(PerExampleTrainer):
    """A `PerExampleTrainer` that builds a model for every trial and leaves no checkpoints behind."""

    def __init__(self, *args: Any, search: Search, **kwargs: Any) -> None:
        self.search = search
        super().__init__(*args, **kwargs)
        # It would save a checkpoint first: a trial that was stopped is made anew.
        self.remove_callback(StopOnSignal)

    def _report_to_hp_search(self, trial: Any, step: int, metrics: dict[str, float]) -> None:
        # Trials differ in their batch size: at the same step one has seen more rows than another.
        super()._report_to_hp_search(trial, round(self.state.epoch or 0), metrics)

    def call_model_init(self, trial: Any = None) -> nn.Module:
        """Build the model of a trial, and take its layer-wise decay."""
        model = super().call_model_init(trial)
        self.layer_decay = self.search.model_arguments(trial).layer_decay
        if trial is not None:
            if self.args.device.type == "cpu":
                cpu_kernels.quicken(model)
            drawn = ", ".join(
                f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in trial.params.items()
            )
            terminal.say(f"Trial {trial.number}: {drawn}", style="bold")
        return model
