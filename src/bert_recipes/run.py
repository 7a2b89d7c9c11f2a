"""The run folder: everything that a run took in and gave out, written whole or not at all."""

import csv
import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from datasets import DatasetDict

from bert_recipes import calibration, console
from bert_recipes.arguments import Arguments, CustomArguments
from bert_recipes.checkpoints import last_sound, remove
from bert_recipes.custom_code import file_of, is_own_code
from bert_recipes.data import ID, LABELS, TEXT, TEXT_PAIR, TextData, column
from bert_recipes.devices import peak_memory
from bert_recipes.errors import UserError
from bert_recipes.files import writing
from bert_recipes.hub import HubPush
from bert_recipes.labels import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Labels, predictions_of, probabilities_of
from bert_recipes.losses import LOSSES
from bert_recipes.metrics import CHOOSING, LESS_IS_BETTER, scores_from_probabilities
from bert_recipes.predictions import FOLD, Predictions

# What may differ between two starts of one run: where it stands and how it is shown, not what comes out.
NOT_COMPARED = {"output_dir", "disable_tqdm", "logging_dir", "push_to_hub", "hub_model_id", "hub_private_repo"}
F1_NOTE = {
    "binary": "F1, precision and recall are those of the second label.",
    "multi-class": "F1, precision and recall are macro averages over the labels.",
    "multi-label": "Accuracy is that of whole rows; F1, precision and recall are micro averages over all labels.",
}
# TensorBoard's files would otherwise go among the checkpoints.
LOGS_ARE_PLACED = "TENSORBOARD_LOGGING_DIR" in os.environ
PACKAGES = ("bert-recipes", "transformers", "datasets", "evaluate", "accelerate", "torch", "scikit-learn", "numpy")


class Run:
    """A run folder for a recipe's arguments and its data.

    Making one checks and writes nothing; `open` does.

    Attributes:
        folder: the run folder.
        training: the arguments for the Trainer, whose `output_dir` is the folder of the run's checkpoints once the
            run is open.
        tokenized: the rows that this run trains on, is validated on and predicts.
        title: of a fold, for the terminal.
        checkpoint: once the run is open, the checkpoint to go on from, or None.

    Args:
        args: of the recipe.
        data: what `load_data` returned.
        tokenized: what `tokenize` returned.
        source: the folder of the pretrained model, or None where there is none.
        whole: the run that this one is a fold of.

    Raises:
        UserError: what was asked for does not fit the task, or the sample submission does not fit the test split.
    """

    def __init__(
        self, args: Arguments, data: TextData, tokenized: DatasetDict, source: str | None, whole: "Run | None" = None
    ):
        self.recipe = args.configuration["recipe"]
        self.folder = Path(args.training.output_dir)
        self.training = args.training
        self.data = data
        self.tokenized = tokenized
        self.source = source
        self.whole = whole
        self.checkpoint = None
        self.is_open = False
        self.title = ""
        # What was guessed is written down, so that the repeat does not have to guess.
        one_column = len(data.columns.label) == 1 and data.labels.problem_type != REGRESSION
        self.configuration = args.configuration | {
            "dataset": [data.source],
            "text_column": data.columns.text,
            "text_pair_column": data.columns.text_pair,
            "label_column": data.columns.label,
            "id_column": data.columns.id,
            "task": data.labels.task,
            "label_delimiter": data.labels.delimiter,
            "labels": data.labels.names if one_column else None,
        }
        self._check_task(data.labels)
        self.decision = args.data.decision
        if self.decision == "threshold" and data.labels.task != "binary":
            raise UserError(
                f"--decision threshold chooses between two labels: a {data.labels.task} task cannot honour it."
            )
        self.sample = _read_sample(data)
        self.hub_push = self._prepare_push()

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
        self.training.output_dir = str(self.folder / "checkpoints")
        if not LOGS_ARE_PLACED:
            os.environ["TENSORBOARD_LOGGING_DIR"] = str(self.folder / "logs")
        if PartialState().is_main_process:
            try:
                self._open(self.training.overwrite and not self.whole)
            except OSError as error:
                raise UserError(
                    f"--output_dir {self.folder} cannot be written ({error.strerror}): name another."
                ) from error
            if self.source:
                self._check_room(Path(self.source))
        self.checkpoint = self._last_checkpoint()
        if self.whole:
            console.say(self.title, style="bold")
            return
        console.show_data(self.data, self.tokenized)
        if self.source:
            console.say(f"Training {self.configuration['model']} ({self.recipe}) on {_device(self.training)}.")
            say_which_gpus_idle(self.recipe, self.training)

    def _prepare_push(self) -> HubPush | None:
        """Take the push out of Trainer's hands, which would begin it before there is a model to push."""
        if not self.training.push_to_hub:
            return None
        if self.configuration["folds"]:
            raise UserError(
                "--push_to_hub pushes one model, and with --folds there is one for each fold: leave it out."
            )
        self.training.push_to_hub = False
        # The token is a secret: it must reach neither run.yaml nor the checkpoints, which keep all arguments.
        self.configuration.pop("hub_token", None)
        token, self.training.hub_token = self.training.hub_token, None
        if not PartialState().is_main_process:
            return None
        name = self.training.hub_model_id or self.folder.resolve().name
        return HubPush(name, token, self.training.hub_private_repo)

    def _check_task(self, labels: Labels) -> None:
        """Check what was asked for against the task, and settle which score chooses the best checkpoint."""
        if self.training.label_smoothing_factor and labels.problem_type != SINGLE_LABEL:
            raise UserError(
                f"--label_smoothing_factor smooths the classes of a binary or multi-class task: a {labels.task} task "
                "cannot honour it."
            )
        valid = CHOOSING[labels.problem_type]
        asked = self.configuration.get("metric_for_best_model")
        name = (asked or valid[0]).removeprefix("eval_")
        if name not in valid:
            raise UserError(
                f"--metric_for_best_model {asked} is no score of a {labels.task} task: take one of {', '.join(valid)}."
            )
        self.training.metric_for_best_model = name
        if "greater_is_better" not in self.configuration:
            self.training.greater_is_better = name not in LESS_IS_BETTER
        self.configuration["metric_for_best_model"] = name

    def _open(self, overwrite: bool) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"--output_dir {self.folder} is a file: name a folder.")
        written = self.folder / "run.yaml"
        if overwrite and written.is_file():
            shutil.rmtree(self.folder)
        if written.is_file():
            there = yaml.safe_load(written.read_text(encoding="utf-8"))
            check_same_configuration(self.folder, "a run", there, self.configuration, NOT_COMPARED)
            if (self.folder / "metrics.json").is_file():
                raise UserError(
                    f"{self.folder} holds a finished run: name another --output_dir, or replace it with --overwrite."
                )
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            raise UserError(f"--output_dir {self.folder} is not empty and holds no run: name another.")
        self.folder.mkdir(parents=True, exist_ok=True)
        with writing(written) as file:
            yaml.safe_dump(self.configuration, file, sort_keys=False, allow_unicode=True)

    def _check_room(self, source: Path) -> None:
        # Weights in float32 and Adam's two moments, for every checkpoint kept and the one being written.
        weights = sum(file.stat().st_size for file in source.glob("*.safetensors"))
        there = sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())
        needed = weights * (3 * ((self.training.save_total_limit or 2) + 1) + 1) - there
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            if not any(self.folder.glob("checkpoints/*")):
                shutil.rmtree(self.folder)
            raise UserError(
                f"--output_dir {self.folder} has {free / 2**30:.1f} GiB of free space, and the checkpoints need about "
                f"{needed / 2**30:.1f}: free some, name another folder, or lower --save_total_limit."
            )

    def _last_checkpoint(self) -> str | None:
        """Return the last sound checkpoint, if there is one: the main process finds it, the others take its word."""
        found = [None]
        if PartialState().is_main_process:
            sound, unsound = last_sound(self.folder / "checkpoints")
            start = sound.name if sound else "the start"
            for checkpoint, wrong in unsound.items():
                console.warn(f"{checkpoint.name} cannot be used ({wrong}): going on from {start}.")
                remove(checkpoint)
            found = [str(sound) if sound else None]
            if sound and self.training.world_size != (before := len(list(sound.glob("rng_state*.pth")))):
                console.warn(
                    f"{sound.name} was left by {before} processes, and this run has {self.training.world_size}: it "
                    "goes on, though not as if it had never stopped."
                )
        # Also the wait until the main process has opened the folder.
        broadcast_object_list(found)
        if not (self.folder / "run.yaml").is_file():
            raise UserError(
                f"--output_dir {self.folder} is not seen by process {PartialState().process_index} as the main "
                "process sees it: name a folder on a file system that all machines share."
            )
        return found[0]

    def finish(self, trainer) -> None:
        """Score and predict with the best weights, and write everything that a run gives out."""
        scores = {"train": _train_scores(trainer) | self._cost(trainer)}
        predicted, validation = {}, None
        with console.console.status("predicting"):
            for split in ("validation", "test"):
                if split in self.tokenized:
                    output = trainer.predict(self.tokenized[split], metric_key_prefix=split)
                    predicted[split] = probabilities_of(output.predictions, self.data.labels.problem_type)
                    if LABELS in self.tokenized[split].column_names:
                        scores[split] = {k.removeprefix(f"{split}_"): v for k, v in output.metrics.items()}
                    if split == "validation":
                        logits, labels = (
                            torch.from_numpy(output.predictions).double(),
                            torch.from_numpy(output.label_ids),
                        )
                        losses = trainer.losses_of(logits, labels).numpy()
                        validation = self.predictions(split, predicted[split], losses)
        self._save_model(trainer)
        if PartialState().is_main_process:
            with writing(self.folder / "trainer_state.json") as file:
                json.dump(dataclasses.asdict(trainer.state), file, indent=2)
            self.write(scores, validation, predicted.get("test"))

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
            label_names=self.data.labels.names,
            problem_type=self.data.labels.problem_type,
            columns={name: rows[name][:] for name in rows.column_names if name not in (ID, LABELS)},
        )

    def write(self, scores: dict, validation: Predictions, test: np.ndarray | None) -> None:
        """Write what a run gives out, given what was predicted: predictions, scores, model card and report.

        Args:
            scores: `train` and, where they are scored already, the splits; the others are scored here.
            validation: rows that the model was not trained on; threshold and temperature are chosen on these alone.
            test: probabilities of the test rows `[rows, num_labels]`, or None where there is no test split.
        """
        labels = self.data.labels
        if "validation" not in scores:
            scores["validation"] = self._scores_of(validation.labels, validation.probabilities)
            scores["validation"]["loss"] = float(validation.losses.mean())
        chosen = {}
        if labels.problem_type == SINGLE_LABEL:
            folds = np.asarray(validation.columns[FOLD]) if FOLD in validation.columns else None
            chosen = calibration.choose(validation.labels, validation.probabilities, folds)
            scores["validation"] |= chosen
        if test is not None and LABELS in self.data.splits["test"].column_names:
            truth = column(self.data.splits["test"], LABELS)
            scores.setdefault("test", self._scores_of(truth, test))
            if chosen:
                scores["test"] |= calibration.scores_at(chosen, truth, test)
        probabilities = validation.probabilities if test is None else test
        predictions = predictions_of(probabilities, labels.names, labels.problem_type)
        at_threshold = None
        if chosen.get("threshold") is not None:
            at_threshold = [labels.names[int(p >= chosen["threshold"])] for p in probabilities[:, 1]]
        ids = validation.ids if test is None else self.data.splits["test"][ID]
        self._write_predictions(ids, predictions, probabilities, at_threshold)
        if self.sample:
            decided = predictions
            if self.decision == "threshold" and at_threshold:
                decided = at_threshold
            elif self.decision == "threshold":
                console.warn("No threshold could be chosen: submission.csv holds the likelier labels.")
            self._write_submission(decided, probabilities)
        validation.write(self.folder)
        scores["environment"] = self._environment()
        if not self.whole:
            self._write_model_card(scores, validation.columns[TEXT][0])
            # matplotlib takes a second to import, and only now is it needed.
            from bert_recipes.report import write_report

            for sentence in write_report(self.folder, scores, self.data.labelled_rows):
                console.warn(sentence)
        # The last one: a folder that has it is a finished run.
        with writing(self.folder / "metrics.json") as file:
            json.dump(scores, file, indent=2)
        if self.whole:
            return
        best = "scores of the best checkpoint" if self._keeps_the_best() else "scores"
        console.show_scores(f"{self.recipe}: {'out-of-fold scores' if self.configuration['folds'] else best}", scores)
        self._say_what_next()
        if self.hub_push:
            console.say(f"Pushed to {self.hub_push.push(self.folder)}.")

    def pool(self, parts: list["Run"], fold_of: np.ndarray) -> None:
        """Make the finished folds' out-of-fold predictions and their mean test probabilities those of this run.

        Args:
            parts: the folds.
            fold_of: the fold of each training row `[rows]`, from 0.
        """
        self.open()
        if not PartialState().is_main_process:
            return
        labels = self.data.labels
        probabilities = np.zeros((len(fold_of), len(labels.names)))
        losses = np.zeros(len(fold_of))
        scores = []
        for fold, part in enumerate(parts):
            found = Predictions.read(part.folder, labels.names, labels.problem_type)
            probabilities[fold_of == fold], losses[fold_of == fold] = found.probabilities, found.losses
            scores.append(json.loads((part.folder / "metrics.json").read_text(encoding="utf-8")))
        validation = self.predictions("train", probabilities, losses)
        validation.columns[FOLD] = (fold_of + 1).tolist()
        test = None
        if "test" in self.data.splits:
            test = np.mean([read_probabilities(part.folder, labels) for part in parts], axis=0)
        train = [of_fold["train"] for of_fold in scores]
        total = {k: sum(t[k] for t in train) for k in ("train_runtime",) if all(k in t for t in train)}
        mean = {
            k: float(np.mean([t[k] for t in train]))
            for k in ("train_loss", "train_samples_per_second", "train_tokens_per_second")
            if all(k in t for t in train)
        }
        most = {k: max(t[k] for t in train) for k in ("peak_memory_mib", "peak_gpu_memory_mib") if k in train[0]}
        self.write(
            {"train": total | mean | most, "folds": [of_fold["validation"] for of_fold in scores]}, validation, test
        )

    def _scores_of(self, labels: np.ndarray, probabilities: np.ndarray) -> dict:
        scores = scores_from_probabilities(probabilities, labels, self.data.labels.problem_type)
        if "per_label" in scores:
            scores["per_label"] = dict(zip(self.data.labels.names, scores["per_label"], strict=True))
        return scores

    def _cost(self, trainer) -> dict:
        """Return tokens per second of the training, padding not counted, and the most memory that it took."""
        runtime = _train_scores(trainer).get("train_runtime")
        tokens = column(self.tokenized["train"], "length").sum() * trainer.state.epoch
        cost = {"train_tokens_per_second": float(tokens / runtime)} if runtime else {}
        cost["peak_memory_mib"] = peak_memory() / 2**20
        if torch.cuda.is_available() and not self.training.use_cpu:
            cost["peak_gpu_memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
        return cost

    def _save_model(self, trainer) -> None:
        beside, model = self.folder / ".model", self.folder / "model"
        trainer.save_model(str(beside))
        if PartialState().is_main_process:
            (beside / "training_args.bin").unlink(missing_ok=True)
            if model.exists():
                shutil.rmtree(model)
            beside.replace(model)
        PartialState().wait_for_everyone()

    def _write_predictions(self, ids, predictions, probabilities, at_threshold) -> None:
        labels = self.data.labels
        # A regression of one target has its value in `prediction`: a column of its own would say it twice.
        columns = [] if labels.problem_type == REGRESSION and len(labels.names) == 1 else labels.names
        with writing(self.folder / "predictions.csv") as file:
            out = csv.writer(file)
            out.writerow([ID, "prediction", *columns, *(["prediction_at_threshold"] if at_threshold else [])])
            for i, (name, prediction, row) in enumerate(zip(ids, predictions, probabilities, strict=True)):
                more = [at_threshold[i]] if at_threshold else []
                out.writerow([name, prediction, *(f"{p:.8f}" for p in row[: len(columns)]), *more])

    def _write_submission(self, predictions, probabilities) -> None:
        header, ids = self.sample
        names = self.data.labels.names
        asked = header[1:]
        of_labels = len(asked) > 1 or (self.data.labels.problem_type == MULTI_LABEL and set(asked) <= set(names))
        columns = [names.index(name) for name in asked] if of_labels else None
        cells = (
            [[prediction] for prediction in predictions]
            if columns is None
            else [[f"{row[i]:.8f}" for i in columns] for row in probabilities]
        )
        of_id = dict(zip(self.data.splits["test"][ID], cells, strict=True))
        with writing(self.folder / "submission.csv") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(header)
            out.writerows([name, *of_id[name]] for name in ids)

    def _environment(self) -> dict:
        return {
            "versions": {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in PACKAGES},
            "device": _device(self.training) if self.source else "CPU in float64",
            "processes": self.training.world_size,
            "threads": torch.get_num_threads(),
            "seed": self.training.seed,
            "data": digests(self.data),
            "labels": {
                "task": self.data.labels.task,
                "problem_type": self.data.labels.problem_type,
                "names": self.data.labels.names,
            },
            "command": " ".join("***" if self.hub_push and word == self.hub_push.token else word for word in sys.argv),
        }

    def _write_model_card(self, scores: dict, example: str) -> None:
        front = {
            "library_name": "transformers",
            "pipeline_tag": "text-classification",
            "tags": ["bert-recipes", self.recipe],
            "metrics": ["mse", "pearsonr"] if self.data.labels.problem_type == REGRESSION else ["accuracy", "f1"],
        }
        labels = self.data.labels
        lines = [
            "---",
            yaml.safe_dump(front, sort_keys=False).strip(),
            "---",
            f"# A text classifier, made by the {self.recipe} recipe of bert-recipes",
            "",
            f"- Model: {self._what()}.",
            f"- Data: `{self.data.source}`, "
            + ", ".join(f"{len(rows):,} rows of {split}" for split, rows in self.data.splits.items())
            + ".",
            f"- Task: {labels.task}; {'targets' if labels.problem_type == REGRESSION else 'labels'} "
            + f"{', '.join(f'`{name}`' for name in labels.names)}.",
            *([f"- Head and loss: {self._head_and_loss()}."] if self.source else []),
            *([self._own_code_note()] if self._has_own_code() else []),
            "",
        ]
        header, *rows = console.scores_table(scores)
        lines += [_table_row(header), "|" + "---|" * len(header), *map(_table_row, rows)]
        lines += [
            "",
            *([F1_NOTE[labels.task]] if labels.task in F1_NOTE else []),
            self._how_validated(),
            "",
            *(self._how_to_load(example) if self.source else ["The model is not saved: it is fitted in seconds."]),
            "",
            "Made with " + ", ".join(f"{k} {v}" for k, v in scores["environment"]["versions"].items()) + ".",
        ]
        with writing(self.folder / "README.md") as file:
            file.write("\n".join(lines) + "\n")

    def _keeps_the_best(self) -> bool:
        # The baseline has one model and no checkpoints, whatever a configuration of the other recipes says.
        return self.source is not None and self.training.load_best_model_at_end

    def _how_validated(self) -> str:
        said = []
        if folds := self.configuration["folds"]:
            said.append(
                f"Validation rows are all rows of train, each predicted by the one of {folds} models (`folds/`) that "
                "was not trained on it; test predictions are the mean of theirs."
            )
        if self._keeps_the_best():
            said.append("The best checkpoint was chosen by its score on these rows, which is a little too kind.")
        else:
            said.append("No checkpoint was chosen by the rows that score it.")
        return " ".join(said)

    def _how_to_load(self, example: str) -> list[str]:
        model = self.folder / "folds" / "1" / "model" if self.configuration["folds"] else self.folder / "model"
        address = self.hub_push.repository if self.hub_push else model
        remote = self._has_own_code() or (self.hub_push and self.recipe == "custom")
        more = ", trust_remote_code=True" if remote else ""
        return [
            "```python",
            *(["import bert_recipes  # registers the architecture"] if self.recipe == "custom" and not remote else []),
            "from transformers import pipeline",
            "",
            f'classify = pipeline("text-classification", model="{address}", top_k=None{more})',
            f"print(classify({example[:80]!r}))",
            "```",
        ]

    def _has_own_code(self) -> bool:
        return is_own_code(self.configuration.get("pooling") or "")

    def _own_code_note(self) -> str:
        file = file_of(self.configuration["pooling"]).name
        return (
            f"- Code: the pooling is `{file}` in the model's folder. It runs only with `trust_remote_code=True`: "
            "read it first."
        )

    def _what(self) -> str:
        if not self.source:
            return "TF-IDF of words and characters under a linear model"
        return f"`{self.configuration['model']}`, fine-tuned with seed {self.training.seed}"

    def _head_and_loss(self) -> str:
        own = ", ".join(f"{key} `{value}`" for key, value in self._own_choices().items())
        return own or "the stock model's own"

    def _own_choices(self) -> dict:
        """Return what the custom recipe has of its own: pooling and loss, and all else that is not as by default."""
        if "pooling" not in self.configuration:
            return {}
        loss = self.configuration["loss"] or next(iter(LOSSES[self.data.labels.problem_type]))
        # Where a file of the user's lies is nobody else's business.
        pooling, loss = (
            Path(name).name if is_own_code(name) else name for name in (self.configuration["pooling"], loss)
        )
        others = {
            field.name: self.configuration[field.name]
            for field in dataclasses.fields(CustomArguments)
            if field.name not in ("model", "pooling", "loss") and self.configuration[field.name] != field.default
        }
        return {"pooling": pooling, "loss": loss, **others}

    def _say_what_next(self) -> None:
        files = ["report.html", "metrics.json", "predictions.csv", *(["submission.csv"] if self.sample else [])]
        files += [] if self.source is None else ["folds/"] if self.configuration["folds"] else ["model/"]
        how = "; README.md there tells how to load the model" if self.source else ""
        console.say(f"The run is in {self.folder}/: {', '.join(files)}{how}.")
        if self.source:
            other = "custom" if self.recipe == "stock" else "stock"
            console.say(f"Next: make recipe-{other}, the other side of the fork.")
        else:
            console.say("Next: make recipe-stock, which has this to beat.")
        if self.sample:
            console.say(
                f"To submit: kaggle competitions submit -c NAME -f {self.folder}/submission.csv -m {self.recipe}"
            )


def _read_sample(data: TextData) -> tuple[list[str], list[str]] | None:
    """Return the header and the ids of the sample submission, checked against the test split, before any training."""
    if data.sample_submission is None or "test" not in data.splits:
        return None
    with data.sample_submission.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = csv.reader(file)
    known = set(data.splits["test"][ID])
    missing = [row[0] for row in rows if row and row[0] not in known]
    strangers = [name for name in header[1:] if name not in data.labels.names] if len(header) > 2 else []
    wrong = None
    if missing:
        wrong = f"asks for ids that test does not have, such as {missing[0]}"
    elif len(header) < 2:
        wrong = "has no column beside the id"
    elif strangers:
        wrong = f"asks for a column '{strangers[0]}', which is none of the labels {', '.join(data.labels.names)}"
    if wrong:
        raise UserError(f"{data.sample_submission} {wrong}: correct or remove it.")
    return header, [row[0] for row in rows if row]


def read_probabilities(folder: Path, labels: Labels) -> np.ndarray:
    """Return the probabilities `[rows, num_labels]` that `predictions.csv` of a run folder holds."""
    with (folder / "predictions.csv").open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file)
    first = 1 if labels.problem_type == REGRESSION and len(labels.names) == 1 else 2
    return np.array([row[first : first + len(labels.names)] for row in rows], dtype=float)


def check_same_configuration(folder: Path, what: str, there: dict, here: dict, not_compared: set[str]) -> None:
    """Raise `UserError`, naming what differs, where `folder` holds `what` of another configuration."""
    keys = sorted(k for k in {*there, *here} - not_compared if there.get(k) != here.get(k))
    if keys:
        differences = "; ".join(f"{k} is {there.get(k)} there and {here.get(k)} here" for k in keys)
        raise UserError(
            f"{folder} holds {what} of another configuration ({differences}): "
            "name another --output_dir, or replace it with --overwrite."
        )


def _table_row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def digests(data: TextData) -> dict[str, str]:
    """Return a digest of each split's ids, texts and labels: equal digests are equal data."""
    found = {}
    for split, rows in data.splits.items():
        digest = hashlib.sha256()
        for name in (ID, TEXT, TEXT_PAIR, LABELS):
            if name in rows.column_names:
                digest.update(name.encode())
                cells = rows.select_columns(name)
                for start in range(0, len(rows), 10_000):
                    digest.update(json.dumps(cells[start : start + 10_000][name]).encode())
        found[split] = digest.hexdigest()
    return found


def _device(training) -> str:
    name = torch.cuda.get_device_name() if training.device.type == "cuda" else training.device.type.upper()
    count = f"{training.world_size} x {name}" if training.world_size > 1 else name
    return f"{count} in {'bfloat16' if training.bf16 else 'float16' if training.fp16 else 'float32'}"


def say_which_gpus_idle(recipe: str, training) -> None:
    """Say how to use all GPUs where a run that was started alone leaves some idle."""
    gpus = torch.cuda.device_count()
    if gpus > 1 and training.world_size == 1 and not training.use_cpu:
        console.say(f"{gpus} GPUs are here and one is used: make recipe-{recipe} PROCS={gpus} takes them all.")


def _train_scores(trainer) -> dict:
    logged = [entry for entry in trainer.state.log_history if "train_runtime" in entry]
    return {k: v for k, v in (logged[-1] if logged else {}).items() if k.startswith("train_") or k == "epoch"}
