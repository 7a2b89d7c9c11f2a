"""A run: from a recipe's arguments and its data to everything that stands in the run folder in the end."""

import dataclasses
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset, DatasetDict
from jinja2 import TemplateError

from bert_recipes import terminal
from bert_recipes.columns import FOLD, ID, LABELS, LENGTH
from bert_recipes.config.parsing import Arguments
from bert_recipes.config.reading import READING
from bert_recipes.config.start import Start
from bert_recipes.data.loading import TextData
from bert_recipes.data.seen_rows import seen_before
from bert_recipes.data.splits import column
from bert_recipes.data.summary import show_data
from bert_recipes.devices import describe_device, peak_memory
from bert_recipes.errors import UserError
from bert_recipes.evaluation import calibration
from bert_recipes.evaluation.decoding import predictions_of, probabilities_of
from bert_recipes.evaluation.metrics import scores_from_probabilities
from bert_recipes.evaluation.prediction_files import PREDICTIONS_FILE, Predictions, PredictionWriter
from bert_recipes.files import NO_SPACE, write_json, writing
from bert_recipes.modeling.going_on import read_otherwise
from bert_recipes.reporting.summary import show_scores
from bert_recipes.runs.environment import environment_of
from bert_recipes.runs.folder import RunFolder, room_for_checkpoints
from bert_recipes.runs.model_card import model_card
from bert_recipes.runs.next_steps import next_steps, train_on
from bert_recipes.runs.settings import RunSettings
from bert_recipes.runs.submission import Submission
from bert_recipes.task import SINGLE_LABEL, Task
from bert_recipes.training.trainer import RecipeTrainer

# What matplotlib, a font or a template may fail with: no reason to lose a trained model's scores.
DRAWING_ERRORS = (
    *(ArithmeticError, AttributeError, ImportError, LookupError, OSError, RuntimeError),
    *(TypeError, ValueError, TemplateError, UserError),
)
# TensorBoard's files would otherwise go among the checkpoints.
LOGS_ARE_PLACED = "TENSORBOARD_LOGGING_DIR" in os.environ


class Run(RunSettings):
    """A run of a recipe on its data.

    Making one checks and writes nothing; `open` does. Once it is open, `training.output_dir` is the folder of the
    run's checkpoints.

    Attributes:
        tokenized: the rows that this run trains on, is validated on and predicts.
        title: of a fold, for the terminal.
        checkpoint: once the run is open, the checkpoint to go on from, or None.

    Args:
        args: of the recipe.
        data: what `load_data` returned.
        tokenized: what `tokenize` returned.
        model_dir: the folder of the pretrained model, or None where there is none.
        whole: the run that this one is a fold of.

    Raises:
        UserError: as `RunSettings`.
    """

    def __init__(
        self,
        args: Arguments[Any],
        data: TextData,
        tokenized: DatasetDict,
        model_dir: str | None,
        whole: "Run | None" = None,
    ):
        super().__init__(args, data, model_dir)
        self.tokenized = tokenized
        self.whole = whole
        if whole:
            self.push = whole.push  # whose token no part may write down
        self.checkpoint: str | None = None
        self.is_open = False
        self.title = ""
        self.read_otherwise = read_otherwise(args, model_dir) if model_dir and not whole else None

    def open(self) -> None:
        """Open the folder: write `run.yaml`, find the checkpoint to go on from, say what was read.

        Raises:
            UserError: the folder holds a finished run, another configuration's run, cannot be written or is on a disk
                that has no room for the checkpoints.
        """
        if self.is_open:
            return
        self.is_open = True
        if self.whole:
            self.whole.open()
        self.training.output_dir = str(self.folder.checkpoints)
        if not LOGS_ARE_PLACED:
            os.environ["TENSORBOARD_LOGGING_DIR"] = str(self.folder.path / "logs")
        if PartialState().is_main_process:
            self._open_folder()
        self.checkpoint = self.folder.last_checkpoint(self.training.world_size, self.chosen)
        if self.whole:
            terminal.say(self.title, style="bold")
            return
        show_data(self.data, self.tokenized)
        if self.model_dir:
            if self.reading.long_texts:
                terminal.say(self.reading.in_words(self.max_length), style="dim")
            terminal.say(
                f"Training {self.configuration['model']} ({self.recipe}) on {describe_device(self.training)}."
            )
            if sentence := seen_before(self.configuration["model"], self.data, self.digests):
                terminal.warn(sentence)
            if self.read_otherwise:
                terminal.warn(self.read_otherwise)
            say_which_gpus_idle(self.recipe, self.training, self.start)

    def _open_folder(self) -> None:
        has_checkpoints = self.model_dir is not None and (self.whole is not None or not self.configuration["folds"])
        kept = self.training.save_total_limit or 2
        self.folder.open(
            self.configuration,
            self.digests if has_checkpoints else None,
            overwrite=self.training.overwrite and not self.whole,
            used=self.inputs,
            room=room_for_checkpoints(str(self.model_dir), kept) if has_checkpoints else 0,
            is_fold=self.whole is not None,
            onward=train_on(self),
        )

    def finish(self, trainer: RecipeTrainer) -> None:
        """Score and predict with the best weights, and write everything that a run gives out."""
        scores: dict[str, Any] = {"train": _training_of(trainer) | cost_of(trainer, self.tokenized["train"])}
        predicted, validation = {}, None
        with terminal.waiting("predicting"):
            for split in ("validation", "test"):
                if split not in self.tokenized:
                    continue
                output: Any = trainer.predict(self.tokenized[split], metric_key_prefix=split)
                predicted[split] = probabilities_of(output.predictions, self.data.task.problem_type)
                if LABELS in self.tokenized[split].column_names:
                    scores[split] = {k.removeprefix(f"{split}_"): v for k, v in output.metrics.items()}
                if split == "validation":
                    logits = torch.from_numpy(output.predictions).double()
                    losses = trainer.losses_of(logits, torch.from_numpy(output.label_ids)).numpy()
                    validation = self.predictions(split, predicted[split], losses)
        write_model(self, self.folder, trainer)
        if PartialState().is_main_process:
            assert validation is not None
            write_json(self.folder.trainer_state, dataclasses.asdict(trainer.state))
            self.write(scores, validation, predicted.get("test"))
        # Only now is there a run for all to read.
        PartialState().wait_for_everyone()

    def predictions(self, split: str, probabilities: np.ndarray, losses: np.ndarray) -> Predictions:
        """Return the predictions of a labelled split, with the texts and the other columns of its rows.

        Args:
            split: its name.
            probabilities: `[rows, num_labels]`; the values themselves in a regression.
            losses: per-example losses `[rows]`.
        """
        rows = self.data.splits[split]
        return Predictions(
            ids=rows[ID][:],
            labels=column(rows, LABELS),
            probabilities=probabilities,
            losses=losses,
            label_names=self.data.task.label_names,
            problem_type=self.data.task.problem_type,
            columns={name: rows[name][:] for name in rows.column_names if name not in (ID, LABELS)},
        )

    def write(self, scores: dict[str, Any], validation: Predictions, test: np.ndarray | None) -> None:
        """Write what a run gives out, given what was predicted: predictions, scores, model card and report.

        Args:
            scores: `train` and, where they are scored already, the splits; the others are scored here.
            validation: rows that the model was not trained on; threshold and temperature are chosen on these alone.
            test: probabilities of the test rows `[rows, num_labels]`, or None where there is no test split.
        """
        if not PartialState().is_main_process:
            return
        chosen = score_splits(self.data, scores, validation, test)
        write_predictions(self.folder, self.data, self.submission, validation, test, chosen.get("threshold"))
        scores["environment"] = environment_of(self)
        if not self.whole:
            self._write_cards(scores)
            draw_report(self.folder.path, scores, self.data)
        # The last one: a folder that has it is a finished run.
        write_json(self.folder.metrics_file, scores)
        self.folder.finish()
        if not self.whole:
            self._tell(scores)
            try:
                if self.push:
                    terminal.say(f"Pushed to {self.push.push(self.folder)}.")
            finally:
                self.folder.owned.release()

    def _write_cards(self, scores: dict[str, Any]) -> None:
        with writing(self.folder.card) as file:
            file.write(model_card(self, scores, "folds/1/model" if self.has_folds_alone else "model"))
        if self.folder.model.is_dir():
            # Whoever gets the model alone gets its card too.
            with writing(self.folder.model / self.folder.card.name) as file:
                file.write(model_card(self, scores, "."))

    def _tell(self, scores: dict[str, Any]) -> None:
        best = "scores of the best checkpoint" if self.keeps_the_best else "scores"
        # Those of the evaluations above are of the training's own precision.
        best += ", in float32" if self.model_dir and (self.training.bf16 or self.training.fp16) else ""
        show_scores(f"{self.recipe}: {'out-of-fold scores' if self.configuration['folds'] else best}", scores)
        if ended := scores["train"].get("stopped_early"):
            terminal.say(f"The training stopped early, after step {ended[0]:,} of {ended[1]:,}.")
        files = ["report.html", "metrics.json", PREDICTIONS_FILE, *(["submission.csv"] if self.submission else [])]
        if self.model_dir is not None:
            files += [
                *(["folds/"] if self.configuration["folds"] else []),
                *([] if self.has_folds_alone else ["model/"]),
            ]
        how = "; README.md there tells how to load the model" if self.model_dir else ""
        terminal.say(f"The run is in {self.folder.path}/: {', '.join(files)}{how}.")
        if self.submission:
            terminal.say(self.submission.sentence(self.folder.submission, len(self.data.splits["test"])), whole=True)
        for sentence in next_steps(self):
            terminal.say(sentence, whole=True)


def write_predictions(
    folder: RunFolder,
    data: TextData,
    submission: Submission | None,
    validation: Predictions,
    test: np.ndarray | None,
    threshold: float | None,
) -> None:
    """Write the two files of predictions and, where a sample came with the data, the submission.

    Args:
        folder: of the run.
        data: what `load_data` returned.
        submission: what is written in the form of the sample.
        validation: rows that the model was not trained on.
        test: probabilities of the test rows `[rows, num_labels]`, or None where there is no test split.
        threshold: chosen on validation rows, where one was.
    """
    task = data.task
    probabilities = validation.probabilities if test is None else test
    ids = validation.ids if test is None else data.splits["test"][ID][:]
    predictions = predictions_of(probabilities, task.label_names, task.problem_type)
    at_threshold = None
    if threshold is not None:
        at_threshold = [task.label_names[int(p >= threshold)] for p in probabilities[:, 1]]
    with writing(folder.path / PREDICTIONS_FILE) as file:
        out = PredictionWriter(file, task.label_names, task.problem_type, at_threshold is not None)
        out.write(ids, predictions, probabilities, at_threshold)
    if submission:
        submission.write(folder.submission, ids, predictions, probabilities, at_threshold)
    validation.write(folder.path)


def write_model(run: Run, folder: RunFolder, trainer: RecipeTrainer) -> None:
    """Write the model that a run has trained into `model/` of a folder, whole or not at all."""
    beside, model, config = folder.path / ".model", folder.model, trainer.model.config
    if run.reading.long_texts:
        setattr(config, READING, run.reading.saved(run.max_length))
    elif hasattr(config, READING):  # that of the model it was made of
        delattr(config, READING)
    trainer.save_model(str(beside))
    if PartialState().is_main_process:
        (beside / "training_args.bin").unlink(missing_ok=True)
        # safetensors keeps its file from the group, whatever the umask says, by which run.yaml was made.
        mode = stat.S_IMODE(folder.run_file.stat().st_mode)
        for file in beside.iterdir():
            file.chmod(mode)
        if model.exists():
            shutil.rmtree(model)
        beside.replace(model)
    PartialState().wait_for_everyone()


def draw_report(folder: Path, scores: dict[str, Any], data: TextData) -> None:
    """Write the page of a run into its folder; what could not be drawn is a warning, but for a disk that is full."""
    try:
        # matplotlib takes a second to import, and only now is it needed.
        from bert_recipes.reporting.run_page import write_report

        missing = write_report(folder, scores, data.labelled_rows)
    except DRAWING_ERRORS as error:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise
        missing = [f"report.html could not be made ({type(error).__name__}: {' '.join(str(error).split())})."]
    for sentence in missing:
        terminal.warn(sentence)


def say_which_gpus_idle(recipe: str, training: Any, start: Start | None) -> None:
    """Say how to use all GPUs where a run that was started alone leaves some idle."""
    gpus = torch.cuda.device_count()
    if start and gpus > 1 and training.world_size == 1 and not training.use_cpu:
        terminal.say(
            f"{gpus} GPUs are here and one is used: {start.on_gpus(recipe, gpus)} takes them all.", whole=True
        )


def train_scores(log_history: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the Trainer logged of a whole training."""
    logged = [entry for entry in log_history if "train_runtime" in entry]
    return {k: v for k, v in (logged[-1] if logged else {}).items() if k.startswith("train_") or k == "epoch"}


def _training_of(trainer: RecipeTrainer) -> dict[str, Any]:
    """Return what was logged of a training, and at which step of how many it stopped early."""
    found = train_scores(trainer.state.log_history)
    if trainer.state.global_step < trainer.state.max_steps:
        found["stopped_early"] = [trainer.state.global_step, trainer.state.max_steps]
    return found


def cost_of(trainer: RecipeTrainer, train: Dataset) -> dict[str, float]:
    """Return tokens per second of the training, padding not counted, and the most memory that it took."""
    runtime = train_scores(trainer.state.log_history).get("train_runtime")
    tokens = column(train, LENGTH).sum() * trainer.state.epoch
    cost = {"train_tokens_per_second": float(tokens / runtime)} if runtime else {}
    cost["peak_memory_mib"] = peak_memory() / 2**20
    if torch.cuda.is_available() and not trainer.args.use_cpu:
        cost["peak_gpu_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return cost


def score_splits(
    data: TextData,
    scores: dict[str, Any],
    validation: Predictions,
    test: np.ndarray | None,
    chosen: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Add the scores of the splits that have none yet; return what was chosen on validation rows, now or before."""
    if "validation" not in scores:
        scores["validation"] = scores_of(data.task, validation.labels, validation.probabilities)
        scores["validation"]["loss"] = float(validation.losses.mean())
    if chosen is None and data.task.problem_type == SINGLE_LABEL:
        folds = np.asarray(validation.columns[FOLD]) if FOLD in validation.columns else None
        chosen = calibration.choose(validation.labels, validation.probabilities, folds)
    chosen = chosen or {}
    scores["validation"] |= chosen
    if test is not None and LABELS in data.splits["test"].column_names:
        truth = column(data.splits["test"], LABELS)
        scores.setdefault("test", scores_of(data.task, truth, test))
        if chosen:
            scores["test"] |= calibration.scores_at(chosen, truth, test)
    return chosen


def scores_of(task: Task, labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Return the scores of probabilities `[rows, num_labels]`, those of each label by its name."""
    scores = scores_from_probabilities(probabilities, labels, task.problem_type)
    if "per_label" in scores:
        scores["per_label"] = dict(zip(task.label_names, scores["per_label"], strict=True))
    return scores
