"""What makes an interruption harmless: sealed checkpoints, signals that save first, a log that does not show it."""

import json
import re
import shutil
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from bert_recipes.errors import StoppedError
from bert_recipes.files import digest_of
from bert_recipes.terminal import in_notebook

SEAL = "sealed.json"
STATE = "trainer_state.json"
# The sum of the losses of all steps up to there, which Trainer does not keep.
TOTAL_LOSS = "total_loss.json"


def checkpoint_folder(args: TrainingArguments, step: int) -> Path:
    """Return where Trainer puts the checkpoint of `step`."""
    return Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{step}"


def seal(checkpoint: Path) -> None:
    """Write the digests of a checkpoint's files into it: only now is it complete."""
    digests = {file.relative_to(checkpoint).as_posix(): digest_of(file) for file in _files(checkpoint)}
    beside = checkpoint / f".{SEAL}"
    beside.write_text(json.dumps(digests, indent=1), encoding="utf-8")
    beside.replace(checkpoint / SEAL)


def what_is_wrong(checkpoint: Path) -> str | None:
    """Return why a checkpoint cannot be gone on from, or None if it can."""
    try:
        digests = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "it was not finished"
    except (OSError, ValueError):
        return f"{SEAL} is damaged"
    if not isinstance(digests, dict) or STATE not in digests:
        return f"{SEAL} is damaged"
    for name, digest in digests.items():
        file = checkpoint / name
        if not file.is_file():
            return f"{name} is missing"
        if digest_of(file) != digest:
            return f"{name} is damaged"
    best = json.loads((checkpoint / STATE).read_text(encoding="utf-8"))["best_model_checkpoint"]
    if best is not None and Path(best).name != checkpoint.name:
        wrong = what_is_wrong(checkpoint.with_name(Path(best).name))
        if wrong:
            return f"the best checkpoint up to there, {Path(best).name}, cannot be used: {wrong}"
    return None


def numbered(folder: Path) -> dict[int, Path]:
    """Return the checkpoints in `folder`, sound or not, by their steps, the last one first."""
    found = {}
    for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        match = re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)", path.name)
        if match and path.is_dir():
            found[int(match[1])] = path
    return dict(sorted(found.items(), reverse=True))


def last_sound(folder: Path) -> tuple[Path | None, dict[Path, str]]:
    """Return the last checkpoint in `folder` to go on from, and what is wrong with those that are not sound."""
    unsound: dict[Path, str] = {}
    for path in numbered(folder).values():
        wrong = what_is_wrong(path)
        if wrong is None:
            return path, unsound
        unsound[path] = wrong
    return None, unsound


def half_removed(folder: Path) -> list[Path]:
    """Return the checkpoints in `folder` that a process was killed in removing: a file of theirs is not there."""
    found = []
    for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        try:
            names = json.loads((path / SEAL).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            names = None
        if not isinstance(names, dict) or not all((path / name).is_file() for name in names):
            found.append(path)
    return sorted(found)


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint, its seal first, so that it never looks sound on the way."""
    (checkpoint / SEAL).unlink(missing_ok=True)
    shutil.rmtree(checkpoint)


def _files(checkpoint: Path) -> list[Path]:
    return sorted(file for file in checkpoint.rglob("*") if file.is_file() and not file.name.endswith(SEAL))


class LogWithSave(TrainerCallback):
    """Logs whenever a checkpoint is saved, so that the log of a run that went on from it is the undisturbed one."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Log this step if it is saved."""
        control.should_log |= control.should_save

    on_epoch_end = on_step_end


class StopOnSignal(TrainerCallback):
    """On SIGTERM (a preempted job) or SIGINT (Ctrl-C): save a checkpoint after the step at hand, then stop.

    A second Ctrl-C, a second or more after the first, stops at once. Within the second it is the same one: a launcher
    that was interrupted passes it on to processes that the terminal may have interrupted already.

    Raises:
        StoppedError: from within `Trainer.train`, when the checkpoint is written.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self) -> None:
        self.received = 0
        self.since = 0.0
        self.before: dict[signal.Signals, Any] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the signals."""
        self.received = 0
        if threading.current_thread() is not threading.main_thread():
            return  # only the main thread may take signals
        self.before = {number: signal.signal(number, self._receive) for number in self.SIGNALS}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.received and number == signal.SIGINT and now - self.since > 1:
            raise KeyboardInterrupt
        self.received, self.since = number, now

    def _agree(self, device: torch.device) -> int:
        # A signal may reach one process later than another, even on the two sides of a save: where to stop is for
        # all to decide together, or the others would wait for one that is gone.
        received = self.received
        if PartialState().num_processes > 1:
            told = torch.tensor(received, device=device)
            torch.distributed.all_reduce(told, op=torch.distributed.ReduceOp.MAX)
            received = int(told.item())
        return received

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Ask for a checkpoint if a signal came, to this process or to another one."""
        control.should_save |= self._agree(args.device) > 0

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop, now that the checkpoint is there."""
        number = self._agree(args.device)
        if number:
            again, flag = ("the same cell", "overwrite") if in_notebook() else ("the same command", "--overwrite")
            # Said once more, either would begin before the checkpoint.
            named = {"overwrite": flag, "resume_from_checkpoint": flag.replace("overwrite", "resume_from_checkpoint")}
            if said := [spelled for name, spelled in named.items() if getattr(args, name, None)]:
                again = f"{again} without {' and '.join(said)}"
            raise StoppedError(
                f"stopped after step {state.global_step} of {state.max_steps}; the checkpoint is in "
                f"{checkpoint_folder(args, state.global_step)}, and {again} goes on from there.",
                number,
            )

    def close(self) -> None:
        """Give the signals back."""
        for number, handler in self.before.items():
            signal.signal(number, handler)
        self.before = {}
