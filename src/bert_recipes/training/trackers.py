"""One training is one run of each tracker: an interrupted one goes on in its own, and each fold has another."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK
from transformers.trainer_callback import CallbackHandler

from bert_recipes.files import read_json, write_json

# Beside the checkpoints: how the trackers call the training that they are of.
TRACKED = "trackers.json"
NAMED, MLFLOW = ("trackio", "wandb"), "mlflow"


@contextlib.contextmanager
def tracked(args: TrainingArguments, handler: CallbackHandler, goes_on: bool) -> Iterator[None]:
    """Have what is logged within go into one run of each tracker.

    Args:
        args: of the training; while it lasts they have a `run_name` of this training alone.
        handler: of the trainer's callbacks.
        goes_on: whether the training resumes from a checkpoint; then its runs do too.
    """
    used = {*NAMED, MLFLOW}.intersection(args.report_to or ())
    if not used or not args.should_save:
        yield
        return
    file, given = Path(str(args.output_dir)) / TRACKED, args.run_name
    known: dict[str, Any] = read_json(file) if goes_on and file.is_file() else {"id": secrets.token_hex(4)}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, known)
    name, part = _names_of(file.parent)
    args.run_name = f"{given}{part}" if given else f"{name}{part}-{known['id']}"
    variables = {"WANDB_RUN_ID": known["id"], "WANDB_RESUME": "allow"}
    if MLFLOW in known:
        variables["MLFLOW_RUN_ID"] = known[MLFLOW]
    remember = _RememberRun(file)
    if MLFLOW in used:
        handler.add_callback(remember)
    try:
        with _environment(variables), _finishing_wandb(handler, "wandb" in used):
            yield
    finally:
        args.run_name = given
        handler.callbacks = [one for one in handler.callbacks if one is not remember]


def _names_of(checkpoints: Path) -> tuple[str, str]:
    """Return what a person would call the run whose checkpoints lie in a folder, and what part of it they are of."""
    folder = (checkpoints.parent if checkpoints.name == "checkpoints" else checkpoints).resolve()
    if folder.parent.name == "folds":
        return folder.parent.parent.name, f"-fold-{folder.name}"
    if folder.name == "refit":
        return folder.parent.name, "-refit"
    return folder.name, ""


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set what the user has not set."""
    ours = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _finishing_wandb(handler: CallbackHandler, used: bool) -> Iterator[None]:
    """Finish wandb's run, unless it is the user's: its callback leaves it open, and the next training would go in."""
    if not used:
        yield
        return
    import wandb

    theirs = wandb.run is not None
    try:
        yield
    finally:
        if not theirs and wandb.run is not None:
            wandb.finish()
            # The callback believes that it is still open.
            kind = INTEGRATION_TO_CALLBACK["wandb"]
            handler.remove_callback(kind)
            handler.add_callback(kind)


class _RememberRun(TrainerCallback):
    """Writes down which run MLflow's server has opened."""

    def __init__(self, file: Path):
        self.file = file

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        import mlflow

        if run := mlflow.active_run():
            write_json(self.file, read_json(self.file) | {MLFLOW: run.info.run_id})


@contextlib.contextmanager
def untracked(handler: CallbackHandler) -> Iterator[None]:
    """Leave trackers out: after a training, trackio's callback would begin another run for a prediction."""
    everyone = handler.callbacks
    handler.callbacks = [one for one in everyone if not isinstance(one, tuple(INTEGRATION_TO_CALLBACK.values()))]
    try:
        yield
    finally:
        handler.callbacks = everyone
