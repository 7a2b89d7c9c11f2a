"""A blend: finished runs on the same folds as one, their predictions weighted by what was learned out of fold."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bert_recipes import terminal
from bert_recipes.columns import FOLD
from bert_recipes.config.arguments import DataArguments
from bert_recipes.config.saved import BLEND, saved_configuration
from bert_recipes.data.again import read_again
from bert_recipes.data.loading import TextData
from bert_recipes.errors import UserError
from bert_recipes.evaluation.blending import Blend, learn
from bert_recipes.evaluation.decoding import mean_probabilities
from bert_recipes.evaluation.metrics import losses_of
from bert_recipes.evaluation.prediction_files import PREDICTIONS_FILE, VALIDATION_FILE, Predictions, read_probabilities
from bert_recipes.files import write_json
from bert_recipes.reporting.pages import is_chosen_there
from bert_recipes.reporting.summary import show_scores
from bert_recipes.reporting.verdicts import Group, Verdict, scores_for, verdicts
from bert_recipes.reporting.verdicts import scores_of as scores_of_seeds
from bert_recipes.runs.comparison import check_same_rows, read_group
from bert_recipes.runs.environment import IN_FLOAT64, versions
from bert_recipes.runs.finished import FinishedRun
from bert_recipes.runs.folder import RunFolder
from bert_recipes.runs.next_steps import how_to_submit
from bert_recipes.runs.run import draw_report, score_splits, scores_of, write_predictions
from bert_recipes.runs.settings import check_decision
from bert_recipes.runs.submission import Submission

# What of a run's data is about its tokens or its trainings, and nothing to a blend.
OF_A_TRAINING = {"max_length", "long_texts", "stride", "max_windows", "validation_size", "refit"}


def make_blend(
    runs: list[str],
    output_dir: str,
    *,
    decision: str | None = None,
    submission: str | None = None,
    overwrite: bool = False,
) -> FinishedRun:
    """Blend finished runs, and write the folder of the blend.

    Args:
        runs: their folders, two or more.
        output_dir: the folder of the blend.
        decision: as `--decision` of a recipe; by default that of the first run, and likewise `submission`.
        submission: as `--submission` of a recipe.
        overwrite: whether a finished blend there is replaced.

    Raises:
        UserError: the runs cannot be blended, their data cannot be read again, or the folder cannot be taken.
    """
    members = read_members(runs)
    first = members[0]
    with terminal.waiting("reading the data again"):
        data = read_again(first.folders[0])
    rows = first.predictions[0]
    probabilities = np.stack([member.predictions[0].probabilities for member in members])
    learned = learn(probabilities, rows.labels, folds_of_rows(first), rows.problem_type)
    test = _of_test(members, data, learned.weights)
    losses = losses_of(learned.probabilities, rows.labels, rows.problem_type)
    blended = dataclasses.replace(rows, probabilities=learned.probabilities, losses=losses)

    configuration = _configuration(members, runs, learned, output_dir)
    configuration |= {k: v for k, v in (("decision", decision), ("submission", submission)) if v is not None}
    check_decision(configuration["decision"], data.task.name)
    asked = Submission.of(data, configuration)
    folder = RunFolder(Path(output_dir).expanduser())
    used = [Path(data.source).expanduser(), *(member.folders[0] for member in members)]
    folder.open(configuration, None, overwrite=overwrite, used=used)
    try:
        scores = _scores(members, runs, learned, blended, data)
        chosen = score_splits(data, scores, blended, test, learned.chosen)
        write_predictions(folder, data, asked, blended, test, chosen.get("threshold"))
        scores["blend"] |= _verdict(folder.path, members, scores, blended)
        scores["environment"] = _environment(first)
        draw_report(folder.path, scores, data)
        # The last one: a folder that has it is finished.
        write_json(folder.metrics_file, scores)
        folder.finish()
    finally:
        folder.owned.release()
    _tell(folder, scores, data, asked)
    return FinishedRun(folder.path)


def read_members(runs: list[str]) -> list[Group]:
    """Read the runs of a blend, each as a group of one.

    Raises:
        UserError: there are fewer than two, one is no finished run with folds or is named twice, or they differ in
            their data, labels or folds: what differs is named.
    """
    if len(runs) < 2:
        raise UserError(f"a blend of {runs[0] if runs else 'nothing'} alone is no blend: name two runs or more.")
    folders = [Path(run).expanduser() for run in runs]
    places = [folder.resolve() for folder in folders]
    members = []
    for folder, place in zip(folders, places, strict=True):
        if places.count(place) > 1:
            raise UserError(f"{folder} is named twice: a run is blended with others.")
        if not folder.is_dir():
            raise UserError(f"{folder} is no run's folder: a blend is made of finished runs with --folds.")
        if saved_configuration(folder).get("recipe") == BLEND:
            raise UserError(f"{folder} is a blend itself: name the runs that it is made of.")
        members.append(read_group(_name(folder, folders), [folder]))
        if FOLD not in members[-1].predictions[0].columns:
            raise UserError(
                f"{folder} is no run with folds, and a blend learns from out-of-fold predictions: run it with --folds."
            )
    check_same_rows(members, "blended")
    return members


def folds_of_rows(member: Group) -> np.ndarray:
    """Return the fold of each row, `[rows]`, from 1.

    Raises:
        UserError: they are no numbers.
    """
    try:
        return np.array(member.predictions[0].columns[FOLD], dtype=int)
    except ValueError as error:
        path = member.folders[0] / VALIDATION_FILE
        raise UserError(f"{path} is damaged ({error}): run it again.") from error


def _name(folder: Path, folders: list[Path]) -> str:
    """Return what a person calls a run: the name of its folder where no other one has it."""
    return folder.name if [other.name for other in folders].count(folder.name) == 1 else str(folder)


def _of_test(members: list[Group], data: TextData, weights: np.ndarray) -> np.ndarray | None:
    """Return the blend's probabilities of the test rows, `[rows, num_labels]`, where there are such."""
    if "test" not in data.splits:
        return None
    names, kind, count = data.task.label_names, data.task.problem_type, len(data.splits["test"])
    of_members = [read_probabilities(member.folders[0], names, kind) for member in members]
    for member, found in zip(members, of_members, strict=True):
        if len(found) != count:
            path = member.folders[0] / PREDICTIONS_FILE
            raise UserError(f"{path} has {len(found):,} rows, and test has {count:,}: run it again.")
    return mean_probabilities(of_members, weights)


def _configuration(members: list[Group], runs: list[str], learned: Blend, output_dir: str) -> dict[str, Any]:
    """Return what run.yaml holds: the runs and their weights, and of the data what a prediction has to know."""
    all_of = [saved_configuration(member.folders[0]) for member in members]
    names = [field.name for field in dataclasses.fields(DataArguments) if field.name not in OF_A_TRAINING]
    return {
        "recipe": BLEND,
        "runs": runs,
        "weights": learned.weights.tolist(),
        **{name: all_of[0][name] for name in names if name in all_of[0]},
        "metric_for_best_model": all_of[0].get("metric_for_best_model"),
        # The blend's scores are slightly optimistic where those of one of its runs are.
        "load_best_model_at_end": any(is_chosen_there(one) for one in all_of),
        "output_dir": output_dir,
    }


def _scores(
    members: list[Group], runs: list[str], learned: Blend, blended: Predictions, data: TextData
) -> dict[str, Any]:
    """Return what metrics.json holds but for the splits, the verdict and the environment."""
    folds, of_folds = folds_of_rows(members[0]), []
    for fold in np.unique(folds):
        inside = folds == fold
        scores = scores_of(data.task, blended.labels[inside], blended.probabilities[inside])
        of_folds.append(scores | {"loss": float(blended.losses[inside].mean())})
    times = [member.metrics[0]["train"].get("train_runtime") for member in members]
    of_members = [
        {
            "name": member.name,
            "run": run,
            "weight": float(weight),
            "weights_without_each_fold": learned.weights_without[:, i].tolist(),
            "scores": {title: float(scores_of_seeds(member, title)[0]) for title in scores_for(blended)},
            # Not that of its training, which may be another one.
            "loss": float(losses_of(member.predictions[0].probabilities, blended.labels, blended.problem_type).mean()),
            "saves_a_model": saved_configuration(member.folders[0]).get("recipe") != "baseline",
        }
        for i, (member, run, weight) in enumerate(zip(members, runs, learned.weights, strict=True))
    ]
    return {
        # All of its runs have to be trained for it.
        "train": {} if None in times else {"train_runtime": sum(times)},
        "folds": of_folds,
        "blend": {"runs": of_members},
    }


def _verdict(folder: Path, members: list[Group], scores: dict[str, Any], blended: Predictions) -> dict[str, Any]:
    """Return the verdict on the blend beside the best of its runs alone, by the first of the scores that decide."""
    title = next(iter(scores_for(blended)))
    best = max(members, key=lambda member: scores_of_seeds(member, title)[0])
    name = folder.name if folder.name not in {member.name for member in members} else str(folder)
    found: Verdict = verdicts([Group(name, [folder], [scores], [blended]), best])[0]
    return {"best": best.name, "verdict": found.sentences}


def _environment(first: Group) -> dict[str, Any]:
    there = first.metrics[0]["environment"]
    return {
        "versions": versions(),
        "device": IN_FLOAT64,
        "processes": 1,
        "threads": torch.get_num_threads(),
        "data": {split: digest for split, digest in there["data"].items() if split in ("train", "test")},
        "labels": there["labels"],
        **({"corrections": there["corrections"]} if "corrections" in there else {}),
        "command": " ".join(sys.argv),
    }


def _tell(folder: RunFolder, scores: dict[str, Any], data: TextData, submission: Submission | None) -> None:
    show_scores("blend: out-of-fold scores, each fold's by weights that have not seen it", scores)
    for member in scores["blend"]["runs"]:
        weights = member["weights_without_each_fold"]
        own = ", ".join(f"{title} {score:.4f}" for title, score in member["scores"].items())
        terminal.say(
            f"{member['name']}: weight {member['weight']:.3f} ({min(weights):.3f} to {max(weights):.3f} without one "
            f"fold), alone {own}."
        )
    for sentence in scores["blend"]["verdict"].values():
        terminal.say(sentence)
    files = ["report.html", "metrics.json", PREDICTIONS_FILE, *(["submission.csv"] if submission else [])]
    terminal.say(f"The blend is in {folder.path}/: {', '.join(files)}.")
    for member in scores["blend"]["runs"]:
        if member["weight"] and not member["saves_a_model"]:
            terminal.say(
                f"{member['name']} saves no model: to predict new texts it is fitted again to its data, which has to "
                "be there."
            )
    if submission:
        terminal.say(submission.sentence(folder.submission, len(data.splits["test"])), whole=True)
        terminal.say(how_to_submit(data.source, folder.submission, BLEND), whole=True)
