"""The submission: the predictions of test in the form of the sample that came with the data."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bert_recipes import terminal
from bert_recipes.data.cells import as_number
from bert_recipes.data.label_cells import as_list, as_text
from bert_recipes.data.loading import TextData
from bert_recipes.data.sample import CORRECT_OR_REMOVE, Sample
from bert_recipes.errors import UserError, some
from bert_recipes.evaluation.decoding import JOINT
from bert_recipes.evaluation.metrics import RANKINGS
from bert_recipes.files import writing
from bert_recipes.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Task

LABELS, PROBABILITIES, VALUES = "labels", "probabilities", "values"
# What may stand between the labels of one cell; a label may have a space in it, so that comes last.
JOINTS = (" | ", "|", "; ", ";", ", ", ",", " ")
# How pandas and json write a list of labels.
LISTS = {"list of Python": repr, "list of JSON": lambda held: json.dumps(held, ensure_ascii=False)}

# What this project calls the folder of a competition's files.
COMPETITIONS = {"disaster-tweets": "nlp-getting-started"}
# Where Kaggle's own machines have them, in a folder that is named by the competition.
KAGGLE_INPUT = Path("/kaggle/input")


def competition_of(source: str) -> str:
    """Return what Kaggle calls the competition that data came from, or NAME where its folder does not tell."""
    folder = Path(source)
    if folder.is_relative_to(KAGGLE_INPUT):
        names = [part for part in folder.relative_to(KAGGLE_INPUT).parts if part != "competitions"]
        return names[0] if names else "NAME"
    return COMPETITIONS.get(folder.name, "NAME")


@dataclass(frozen=True)
class Submission:
    """What is written for each row of the sample submission.

    Attributes:
        sample: the sample.
        task: of the run.
        kind: `LABELS`, `PROBABILITIES` or `VALUES`.
        columns: the number of the label that each column beside the id is about; None, where there is one such column
            and it says all.
        joint: what stands between several labels in a cell, or one of `LISTS`.
        decimal: the decimal mark of its numbers.
        by_threshold: whether labels are those at the threshold.
        why: it is this kind, for a sentence.
    """

    sample: Sample
    task: Task
    kind: str
    columns: list[int] | None
    joint: str
    decimal: str
    by_threshold: bool
    why: str

    @classmethod
    def of(cls, data: TextData, configuration: dict[str, Any]) -> "Submission | None":
        """Return what is to be written in the form of the sample that came with the data, before any training.

        Args:
            data: what `load_data` returned.
            configuration: of the run, what was guessed included.

        Raises:
            UserError: the sample does not fit the labels, or `--submission` does not fit the sample.
        """
        if data.sample is None:
            return None
        columns = _columns(data.sample, data.task)
        kind, why = _kind(data.sample, data.task, columns, configuration)
        cells = [cell for column in data.sample.cells for cell in column]
        points = any("." in cell for cell in cells if as_number(cell) is not None)
        decimal = "." if points else str(configuration["decimal"])
        by_threshold = kind == LABELS and configuration["decision"] == "threshold"
        return cls(data.sample, data.task, kind, columns, _joint(cells, data.task), decimal, by_threshold, why)

    def write(
        self,
        path: Path,
        test_ids: Sequence[str],
        predictions: Sequence[str],
        probabilities: np.ndarray,
        at_threshold: Sequence[str] | None = None,
    ) -> None:
        """Write the submission.

        Args:
            path: of the file.
            test_ids: `[rows]`, in the order of the test split; likewise the others.
            predictions: as `predictions_of` spells them.
            probabilities: `[rows, num_labels]`; the values themselves in a regression.
            at_threshold: what is predicted at the threshold, where one could be chosen.
        """
        decided = predictions
        if self.by_threshold and at_threshold:
            decided = at_threshold
        elif self.by_threshold:
            terminal.warn("No threshold could be chosen: submission.csv holds the likelier labels.")
        rows = zip(test_ids, decided, probabilities, strict=True)
        of_id = {name: self._cells(prediction, row) for name, prediction, row in rows}
        with writing(path) as file:
            out = csv.writer(file, delimiter=self.sample.delimiter, lineterminator="\n")
            out.writerow(self.sample.header)
            out.writerows([name, *of_id[name]] for name in self.sample.ids)

    def _cells(self, decided: str, row: np.ndarray) -> list[str]:
        names = self.task.label_names
        if self.kind == LABELS and self.task.problem_type == SINGLE_LABEL:
            return [decided] if self.columns is None else [str(int(names[i] == decided)) for i in self.columns]
        if self.kind == LABELS:
            held = [str(int(p > 0.5)) for p in row]
            if self.columns is not None:
                return [held[i] for i in self.columns]
            there = [name for name, holds in zip(names, held, strict=True) if holds == "1"]
            return [LISTS[self.joint](there) if self.joint in LISTS else self.joint.join(there)]
        if self.columns is not None:
            return [self._number(f"{row[i]:.8f}") for i in self.columns]
        if self.kind == VALUES:
            return [JOINT.join(self._number(f"{value:.8g}") for value in row)]
        return [self._number(f"{row[1]:.8f}")]

    def _number(self, text: str) -> str:
        return text.replace(".", self.decimal)

    def sentence(self, path: Path, num_rows: int) -> str:
        """Return what was written, why, and how to get it otherwise.

        Args:
            path: of the file.
            num_rows: of test.
        """
        names, asked = self.task.label_names, len(self.sample.ids)
        otherwise = ""
        if self.kind == VALUES:
            what = "predicted values"
        elif self.columns is not None:
            several = "1 for each label that holds and 0 for the others", "the probability of each label"
            what = several[self.kind == PROBABILITIES]
            otherwise = self._otherwise
        elif self.kind == PROBABILITIES:
            what, otherwise = f"the probability of '{names[1]}'", self._otherwise
        elif self.task.problem_type == MULTI_LABEL:
            what = f"the labels of each row, as a {self.joint}" if self.joint in LISTS else "the labels of each row"
            what += "" if self.joint in LISTS else f", joined by '{self.joint}'"
        else:
            what, otherwise = "a label for each row", self._otherwise if self.task.name == "binary" else ""
        rows = f" for the {asked:,} of {num_rows:,} rows of test that {self.sample.path.name} asks for"
        return f"{path} holds {what}{rows if asked < num_rows else ''}, {self.why}{otherwise}."

    @property
    def _otherwise(self) -> str:
        other = LABELS if self.kind == PROBABILITIES else PROBABILITIES
        return f"; --submission {other} writes {other}"


def _columns(sample: Sample, task: Task) -> list[int] | None:
    """Return the number of the label that each column beside the id is about, or None where one column says all."""
    asked = sample.header[1:]
    number_of = task.label2id
    if len(asked) == 1:
        # A single column may be about one label: where its name is one, and its cells are not labels themselves.
        of_one = {
            SINGLE_LABEL: asked[0] in number_of and not _are_labels(sample.cells[0], task),
            MULTI_LABEL: asked[0] in number_of,
            REGRESSION: asked[0] in number_of and task.num_labels > 1,
        }
        return [number_of[asked[0]]] if of_one[task.problem_type] else None
    numbers = {str(i): i for i in range(task.num_labels)} if task.problem_type != REGRESSION else {}
    in_any_case = {name.lower(): i for name, i in number_of.items()}
    found = _numbers_in(asked, number_of) or _numbers_in(asked, numbers)
    if found is None and len(in_any_case) == task.num_labels:
        found = _numbers_in([name.strip().lower() for name in asked], in_any_case)
    if found is None:
        stranger = next(name for name in asked if name not in number_of)
        raise UserError(
            f"{sample.path} asks for a column '{stranger}', which is none of the labels {some(task.label_names)}: "
            f"{CORRECT_OR_REMOVE}."
        )
    return found


def _numbers_in(asked: list[str], number_of: dict[str, int]) -> list[int] | None:
    """Return the numbers of the keys that the headers are, or are behind a prefix that all share; None, if not."""
    prefixes = ["", *(asked[0].removesuffix(key) for key in number_of if asked[0].endswith(key))]
    for prefix in prefixes:
        keys = [name.removeprefix(prefix) for name in asked if name.startswith(prefix)]
        if len(keys) == len(asked) and all(key in number_of for key in keys):
            return [number_of[key] for key in keys]
    return None


def _are_labels(cells: list[str], task: Task) -> bool:
    return {as_text(cell) for cell in cells} <= set(task.label_names)


def _kind(sample: Sample, task: Task, columns: list[int] | None, configuration: dict[str, Any]) -> tuple[str, str]:
    """Return what is written and, for a sentence, why."""
    asked, metric = configuration["submission"], configuration["metric_for_best_model"]
    if task.problem_type == REGRESSION:
        if asked:
            raise UserError(f"--submission {asked} is about labels, and the task is a regression: leave it out.")
        return VALUES, "in the form of the sample"
    threshold = configuration["decision"] == "threshold" and columns is None
    if asked == PROBABILITIES and threshold:
        raise UserError("--decision threshold decides on labels: leave it out, or --submission probabilities.")
    if asked == PROBABILITIES and columns is None and task.name != "binary":
        raise UserError(
            f"--submission probabilities: {sample.path} has one column beside the id, and a {task.name} task has "
            f"{task.num_labels} probabilities a row: give the sample a column for each label, or leave the flag out."
        )
    if asked or threshold:
        return asked or LABELS, f"as --{'submission' if asked else 'decision'} asks"
    if metric in RANKINGS and (columns is not None or task.name == "binary"):
        return PROBABILITIES, f"since --metric_for_best_model {metric} is about their order"
    return _kind_of_cells(sample, task, columns)


def _kind_of_cells(sample: Sample, task: Task, columns: list[int] | None) -> tuple[str, str]:
    cells = list(dict.fromkeys(cell for column in sample.cells for cell in column))
    fraction = next((cell for cell in cells if _is_fraction(cell)), None)
    name = sample.path.name
    if columns is None and (task.problem_type == MULTI_LABEL or _are_labels(cells, task)):
        return LABELS, f"as in {name}"
    if columns is None and fraction is None:
        return LABELS, f"though {name} has {some(cells, most=3)} in their place"
    if columns is None and task.name != "binary":
        raise UserError(
            f"{sample.path} has numbers such as {fraction} in its one column beside the id, and the {task.num_labels} "
            f"labels are {some(task.label_names)}: take --submission labels for these, or --task regression."
        )
    if fraction is not None:
        return PROBABILITIES, f"as in {name} with its {fraction}"
    if task.problem_type == MULTI_LABEL and len(cells) > 1:
        return LABELS, f"as the 0s and 1s of {name}"
    return PROBABILITIES, f"since {name} has a column for each label" + (
        f" and says no more with its {cells[0]}" if len(cells) == 1 else ""
    )


def _is_fraction(cell: str) -> bool:
    number = as_number(cell.replace(",", "."))
    return number is not None and not number.is_integer()


def _joint(cells: list[str], task: Task) -> str:
    """Return what stands between the labels of a cell: in the sample, else in train, else `JOINT`."""
    names = set(task.label_names)
    lists = [found for cell in cells if (found := as_list(cell)) is not None]
    if lists:
        return "list of JSON" if any('"' in cell for cell in cells) else "list of Python"
    several = [cell for cell in cells if cell and cell not in names]
    for joint in JOINTS:
        parts = {part.strip() for cell in several for part in cell.split(joint)}
        if parts - {""} <= names and any(joint in cell for cell in several):
            return joint
    return task.delimiter or JOINT
