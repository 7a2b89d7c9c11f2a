"""The run folder: its files, and whether a run may begin, go on or replace another one there."""

import shutil
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from bert_recipes import terminal
from bert_recipes.config.saved import METRICS_FILE, RUN_FILE, check_same_configuration, saved_configuration
from bert_recipes.errors import UserError
from bert_recipes.files import write_yaml, writing
from bert_recipes.modeling.own_code import file_of, is_own_code, source_at
from bert_recipes.training.checkpoints import last_sound, remove

# Where the source of a pooling or a loss that was given from Python stands.
CODE_FOLDER = "code"


class RunFolder:
    """A run folder that may not be there yet; making one writes nothing.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path):
        self.path = path
        self.run_file = path / RUN_FILE
        self.metrics_file = path / METRICS_FILE
        self.checkpoints = path / "checkpoints"
        self.model = path / "model"
        self.code = path / CODE_FOLDER
        self.card = path / "README.md"
        self.submission = path / "submission.csv"
        self.trainer_state = path / "trainer_state.json"

    @property
    def is_finished(self) -> bool:
        """Whether it holds a finished run: metrics.json is what a run writes last."""
        return self.metrics_file.is_file()

    def fold(self, number: int) -> "RunFolder":
        """Return the folder of a fold, counted from 1."""
        return RunFolder(self.path / "folds" / str(number))

    def open(self, configuration: dict[str, Any], overwrite: bool) -> None:
        """Write `run.yaml`, and the source of what was given from Python, unless what is there already forbids it.

        Raises:
            UserError: it holds a finished run, another configuration's run or something else, or cannot be written.
        """
        try:
            self._open(configuration, overwrite)
        except OSError as error:
            raise UserError(f"--output_dir {self.path} cannot be written ({error.strerror}): name another.") from error

    def _open(self, configuration: dict[str, Any], overwrite: bool) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--output_dir {self.path} is a file: name a folder.")
        if overwrite and self.run_file.is_file():
            shutil.rmtree(self.path)
        if self.run_file.is_file():
            check_same_configuration(self.path, "a run", saved_configuration(self.path), configuration)
            self._check_own_code(configuration)
            if self.is_finished:
                raise UserError(
                    f"{self.path} holds a finished run: name another --output_dir, or replace it with --overwrite."
                )
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise UserError(f"--output_dir {self.path} is not empty and holds no run: name another.")
        for file, source in self._own_code(configuration).items():
            file.parent.mkdir(parents=True, exist_ok=True)
            with writing(file) as opened:
                opened.write(source)
        self.path.mkdir(parents=True, exist_ok=True)
        write_yaml(self.run_file, configuration)

    def _own_code(self, configuration: dict[str, Any]) -> dict[Path, str]:
        """Return the sources that stand in the folder itself, by file."""
        specs = [spec for name in ("pooling", "loss") if is_own_code(spec := configuration.get(name) or "")]
        found = {file_of(spec): source_at(spec) for spec in specs if file_of(spec).parent == self.code}
        return {file: source for file, source in found.items() if source is not None}

    def _check_own_code(self, configuration: dict[str, Any]) -> None:
        for file, source in self._own_code(configuration).items():
            if file.is_file() and file.read_text(encoding="utf-8") != source:
                raise UserError(
                    f"{self.path} holds a run with another {file.name}: name another --output_dir, or replace it with "
                    "--overwrite."
                )

    def check_room(self, model_dir: Path, checkpoints_kept: int) -> None:
        """Check that the disk has room for the checkpoints.

        Args:
            model_dir: of the pretrained model, which tells how large they are.
            checkpoints_kept: at a time, but for the one being written.

        Raises:
            UserError: it has not.
        """
        # Weights in float32 and Adam's two moments, for every checkpoint kept and the one being written.
        weights = sum(file.stat().st_size for file in model_dir.glob("*.safetensors"))
        there = sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
        needed = weights * (3 * (checkpoints_kept + 1) + 1) - there
        free = shutil.disk_usage(self.path).free
        if free < needed:
            if not any(self.checkpoints.glob("*")):
                shutil.rmtree(self.path)
            raise UserError(
                f"--output_dir {self.path} has {free / 2**30:.1f} GiB of free space, and the checkpoints need about "
                f"{needed / 2**30:.1f}: free some, name another folder, or lower --save_total_limit."
            )

    def last_checkpoint(self, processes: int) -> str | None:
        """Return the last sound checkpoint, if there is one; unsound ones are removed.

        The main process finds it, the others take its word; so this is also their wait for an open folder.

        Args:
            processes: how many this run has.

        Raises:
            UserError: a process does not see the folder.
        """
        found: list[str | None] = [None]
        if PartialState().is_main_process:
            found = [self._last_sound(processes)]
        broadcast_object_list(found)
        if not self.run_file.is_file():
            raise UserError(
                f"--output_dir {self.path} is not seen by process {PartialState().process_index} as the main "
                "process sees it: name a folder on a file system that all machines share."
            )
        return found[0]

    def _last_sound(self, processes: int) -> str | None:
        sound, unsound = last_sound(self.checkpoints)
        start = sound.name if sound else "the start"
        for checkpoint, wrong in unsound.items():
            terminal.warn(f"{checkpoint.name} cannot be used ({wrong}): going on from {start}.")
            remove(checkpoint)
        if sound is None:
            return None
        before = len(list(sound.glob("rng_state*.pth")))
        if processes != before:
            terminal.warn(
                f"{sound.name} was left by {before} processes, and this run has {processes}: it goes on, though not "
                "as if it had never stopped."
            )
        return str(sound)
