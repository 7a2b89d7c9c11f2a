"""The run folder: its files, and whether a run may begin, go on or replace another one there.

Who holds a folder, and what of it is ever removed, is in `owned_folder`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from bert_recipes.config.arguments import OWN_CODE
from bert_recipes.config.saved import METRICS_FILE, RUN_FILE, check_same_configuration, saved_configuration
from bert_recipes.errors import UserError
from bert_recipes.evaluation.prediction_files import PREDICTIONS_FILE, VALIDATION_FILE
from bert_recipes.files import read_json, write_json, write_yaml, writing
from bert_recipes.modeling.own_code import is_own_code, source_at
from bert_recipes.modeling.weights import weight_files
from bert_recipes.owned_folder import LOCK, OwnedFolder, free_space, in_bytes
from bert_recipes.runs.resuming import go_on_from
from bert_recipes.training.trackers import TRACKED

# Where the source of the user's own code stands as it was when the run began.
CODE_FOLDER = "code"
# An export, which may stand in a run's folder, and all that is written there.
EXPORT = "export"
EXPORT_FILES = (
    *("export.json", "parity.json", "README.md", "tokenizer.json"),
    *("*model*.onnx", "*model*.onnx.data", "*model*.xml", "*model*.bin"),
)
# All that a run writes.
RUN_FILES: tuple[str, ...] = (
    *(RUN_FILE, METRICS_FILE, "trainer_state.json", PREDICTIONS_FILE, VALIDATION_FILE, "submission.csv"),
    *("README.md", "report.html", "plots/*.png", "plots/*.svg", f"{CODE_FOLDER}/own_*.py"),
    *("logs/events.out.tfevents.*", "logs/*/events.out.tfevents.*"),
    *("checkpoints/checkpoint-*/**", "checkpoints/data.json", f"checkpoints/{TRACKED}"),
    *(f"{folder}/*.{kind}" for folder in ("model", ".model") for kind in ("json", "safetensors", "txt", "py")),
    *("model/*.model", ".model/*.model", ".model/training_args.bin", "model/*.jinja", ".model/*.jinja"),
    *("model/*.codes", ".model/*.codes"),  # BERTweet's
    "model/README.md",
    *(f"{folder}/{file}" for folder in (EXPORT, f".{EXPORT}", f".{EXPORT}.replaced") for file in EXPORT_FILES),
    f".{EXPORT}/{LOCK}",
)
RUN_FILES += tuple(f"{part}/{name}" for part in ("folds/*", "refit") for name in RUN_FILES)


def room_for_checkpoints(model_dir: str, kept: int) -> int:
    """Return the bytes that a run's checkpoints need.

    Args:
        model_dir: of the pretrained model, which tells how large they are.
        kept: checkpoints at a time, but for the one being written.
    """
    # Weights in float32 and Adam's two moments, for every checkpoint kept and the one being written.
    weights = sum(file.stat().st_size for file in weight_files(Path(model_dir)))
    return weights * (3 * (kept + 1) + 1)


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
        self.data_file = self.checkpoints / "data.json"
        self.owned = OwnedFolder(path, "run", RUN_FILES)

    @property
    def is_finished(self) -> bool:
        """Whether it holds a finished run: metrics.json is what a run writes last."""
        return self.metrics_file.is_file()

    def fold(self, number: int) -> "RunFolder":
        """Return the folder of a fold, counted from 1."""
        return RunFolder(self.path / "folds" / str(number))

    @property
    def refit(self) -> "RunFolder":
        """The folder of the training on all rows after the folds, but for its model."""
        return RunFolder(self.path / "refit")

    @property
    def protects(self) -> bool:
        """Whether there is something that another start must not spoil: a checkpoint, a model, or results."""
        results = (self.metrics_file, self.trainer_state, self.model, self.path / PREDICTIONS_FILE)
        return (
            any(file.exists() for file in results)
            or any(self.checkpoints.glob("checkpoint-*"))
            or any(RunFolder(part).protects for part in (*self.path.glob("folds/*"), *self.path.glob("refit")))
        )

    def open(
        self,
        configuration: dict[str, Any],
        data: dict[str, str] | None,
        *,
        overwrite: bool = False,
        used: Iterable[Path] = (),
        room: int = 0,
        is_fold: bool = False,
        onward: str = "",
    ) -> None:
        """Take the folder for a run, and write what it begins with, unless what is there forbids it.

        Args:
            configuration: for `run.yaml`.
            data: the digests of its splits, kept for a resume; None for a run that has no checkpoints.
            overwrite: whether a run that is there is replaced.
            used: what the run reads from, which replacing must not take.
            room: bytes that the run will need.
            is_fold: whether the folder of the whole run is held already.
            onward: what can be done about a finished run that is there, for the end of a sentence.

        Raises:
            UserError: it holds a finished run, another configuration's or other data's run or something else, is in
                use, cannot be written, or is on a disk that has no room for the checkpoints.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--output_dir {self.path} is a file: name a folder.")
        created = not self.path.exists()
        try:
            _check_room(self.path, room, () if overwrite else (self.checkpoints, self.model))
            self.path.mkdir(parents=True, exist_ok=True)
            if not is_fold:
                self.owned.hold()
            self._begin(configuration, data, overwrite, used, is_fold, onward)
        except (OSError, UserError) as error:
            self.owned.release()
            if created and self.path.is_dir() and not any(self.path.iterdir()):
                self.path.rmdir()
            if isinstance(error, UserError):
                raise
            raise UserError(f"--output_dir {self.path} cannot be written ({error.strerror}): name another.") from error

    def _begin(
        self,
        configuration: dict[str, Any],
        data: dict[str, str] | None,
        overwrite: bool,
        used: Iterable[Path],
        is_fold: bool,
        onward: str,
    ) -> None:
        self.owned.undo_setting_aside()
        if not self.run_file.is_file():
            if not self.owned.is_empty:
                raise UserError(f"--output_dir {self.path} is not empty and holds no run: name another.")
        elif overwrite:
            self._check_is_run()
            self.owned.check_replaceable(used)
            self.owned.set_aside(self.is_finished)
        elif self.protects:
            self.check_same_run(configuration, onward)
            if self.is_finished:
                raise UserError(
                    f"{self.path} holds a finished run: name another --output_dir, or replace it with "
                    f"--overwrite{onward or '.'}"
                )
            self.check_same_data(read_json(self.data_file) if self.data_file.is_file() else {}, data or {})
        self.owned.remove_temporary_files()
        # First of all: a folder that has it is a run's, and without checkpoints it protects nothing yet.
        write_yaml(self.run_file, configuration)
        for file, source in self._own_code(configuration).items() if not is_fold else ():
            file.parent.mkdir(parents=True, exist_ok=True)
            with writing(file) as opened:
                opened.write(source)
        if data is not None:
            self.checkpoints.mkdir(exist_ok=True)
            write_json(self.data_file, data)

    def _check_is_run(self) -> None:
        if saved_configuration(self.path).get("recipe") is None:
            raise UserError(
                f"--overwrite: {self.run_file} is not that of a run, so nothing is removed: name another --output_dir."
            )

    def check_same_data(self, there: dict[str, str], here: dict[str, str]) -> None:
        """Check that a run goes on with the rows that it began with.

        Args:
            there: the digests of the splits that it began with; nothing where they are not known.
            here: those of now.

        Raises:
            UserError: they differ; the splits that do are named.
        """
        differ = [split for split in {**there, **here} if there.get(split) != here.get(split)]
        if there and differ:
            raise UserError(
                f"{self.path} holds a run that began with other rows of {' and '.join(differ)}: give it the data of "
                "then, name another --output_dir, or replace it with --overwrite."
            )

    def finish(self) -> None:
        """Let the folder of a finished run go; what it replaced is removed."""
        self.owned.drop_replaced()
        self.owned.remove_temporary_files()

    def _own_code(self, configuration: dict[str, Any]) -> dict[Path, str]:
        """Return the sources of the user's own code that has been loaded, by the file for each."""
        specs = {name: spec for name in OWN_CODE if is_own_code(spec := configuration.get(name) or "")}
        specs |= {f"callback_{i}": spec for i, spec in enumerate(configuration.get("callbacks") or [], start=1)}
        found = {self.code / f"own_{name}.py": source_at(spec) for name, spec in specs.items()}
        return {file: source for file, source in found.items() if source is not None}

    def check_same_run(self, configuration: dict[str, Any], onward: str = "") -> None:
        """Check that the run that is there has this configuration.

        Args:
            configuration: the one that is asked for.
            onward: as `open` takes it.

        Raises:
            UserError: it has another one, or own code that differs.
        """
        there = saved_configuration(self.path)
        check_same_configuration(self.path, "a run", there, configuration, onward=onward)
        for file, source in self._own_code(configuration).items():
            if file.is_file() and file.read_text(encoding="utf-8") != source:
                raise UserError(
                    f"{self.path} holds a run with another {file.name}: name another --output_dir, or replace it with "
                    "--overwrite."
                )

    def last_checkpoint(self, processes: int, chosen: Path | None = None) -> str | None:
        """Return the checkpoint to go on from, the last sound one or the chosen one; what it rules out is removed.

        The main process finds it, the others take its word; so this is also their wait for an open folder.

        Args:
            processes: how many this run has.
            chosen: what `resuming.chosen_checkpoint` returned.

        Raises:
            UserError: a process does not see the folder.
        """
        found: list[str | None] = [None]
        if PartialState().is_main_process:
            found = [go_on_from(self.checkpoints, processes, chosen)]
        broadcast_object_list(found)
        if not self.run_file.is_file():
            raise UserError(
                f"--output_dir {self.path} is not seen by process {PartialState().process_index} as the main "
                "process sees it: name a folder on a file system that all machines share."
            )
        return found[0]


def _check_room(folder: Path, needed: int, kept: Iterable[Path]) -> None:
    """Check that the disk has room for `needed` bytes less those of `kept`, before anything is written or removed."""
    needed -= sum(file.stat().st_size for part in kept for file in part.rglob("*") if file.is_file())
    free = free_space(folder)
    if free < needed:
        raise UserError(
            f"--output_dir {folder} has {in_bytes(free)} of free space, and the checkpoints need about "
            f"{in_bytes(needed)}: free some, name another folder, or lower --save_total_limit."
        )
