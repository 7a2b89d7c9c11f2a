"""Runs side by side: making them, reading them, and the verdict for every pair."""

import dataclasses
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bert_recipes import terminal
from bert_recipes.columns import FOLD, TEXT, TEXT_PAIR
from bert_recipes.config.arguments import CustomArguments, ModelArguments, replaced_by
from bert_recipes.config.saved import (
    METRICS_FILE,
    NOT_COMPARED,
    RUN_FILE,
    differences,
    differing,
    saved_configuration,
)
from bert_recipes.config.shipped import find_configuration
from bert_recipes.config.start import check_finished
from bert_recipes.devices import cores
from bert_recipes.errors import StoppedError, UserError, some
from bert_recipes.evaluation.prediction_files import VALIDATION_FILE, Predictions
from bert_recipes.evaluation.titles import in_a_line
from bert_recipes.files import read_json, read_yaml, write_json, write_yaml
from bert_recipes.owned_folder import OwnedFolder
from bert_recipes.reporting.verdicts import Group, Verdict, scores_for, scores_of, verdicts
from bert_recipes.runs.children import Children, failure_of
from bert_recipes.runs.folder import RunFolder
from bert_recipes.task import REGRESSION

NAMES = ("baseline", "stock", "custom")
# What a comparison writes beside its runs.
COMPARISON_FILES = ("*.yaml", "comparison.json", "report.html", "plots/*.png", "plots/*.svg", "*.log")
# What tells runs of one thing apart from runs of another: not these.
NOT_OF_IT = NOT_COMPARED | {"seed", "data_seed"}


def comparison_folder(folder: Path) -> OwnedFolder:
    """Return the folder of a comparison, for one process at a time to hold."""
    return OwnedFolder(folder, "comparison", COMPARISON_FILES)


@dataclass(frozen=True)
class Compared:
    """One of the things that are compared.

    Attributes:
        name: in the report, and of its runs' folders.
        recipe: whose script makes its runs; None where they are there already.
        configuration: for the script, as keys and values.
        flags: for the script, laid over it.
        folders: the finished runs' folders, where they are there already.
    """

    name: str
    recipe: str | None = None
    configuration: dict[str, Any] = dataclasses.field(default_factory=dict)
    flags: list[str] = dataclasses.field(default_factory=list)
    folders: tuple[Path, ...] = ()

    @classmethod
    def named(cls, what: str, config: Path, flags: list[str]) -> "Compared":
        """Take what the command line names: a recipe, a YAML file or a run's folder.

        Raises:
            UserError: it is none of them, or a YAML file without a recipe.
        """
        path = Path(what)
        if what in NAMES:
            return cls(what, what, _configuration(config), flags)
        if path.is_dir():
            return cls.finished(path)
        path = find_configuration(path)
        if not path.is_file():
            raise UserError(f"{what} is no recipe ({', '.join(NAMES)}), no YAML file and no run's folder.")
        own = read_yaml(path)
        recipe = own.pop("recipe", None)
        if recipe not in NAMES:
            raise UserError(f"{what} does not say of which recipe it is: add 'recipe: custom', or another of {NAMES}.")
        below = _configuration(config)
        replaced = replaced_by({key for key, value in own.items() if value is not None}, below)
        below = {key: value for key, value in below.items() if key not in replaced}
        return cls(path.stem, recipe, below | own, flags)

    @classmethod
    def finished(cls, folder: Path) -> "Compared":
        """Take a finished run.

        Raises:
            UserError: the folder holds none.
        """
        name = re.sub(r"(?<=.)[-_](seed[-_])?\d+$", "", folder.resolve().name)
        return cls(name, None, saved_configuration(folder), [], (folder,))


def twin_of_stock(compared: list[Compared]) -> str | None:
    """Say so where the custom recipe has no choice of its own: then it is the stock model (BERT's), step by step."""
    own = {field.name for field in dataclasses.fields(CustomArguments)} - {
        field.name for field in dataclasses.fields(ModelArguments)
    }
    for c in compared if any(c.recipe == "stock" for c in compared) else ():
        given = {word.partition("=")[0].removeprefix("--") for word in c.flags if word.startswith("--")}
        if c.recipe == "custom" and not own & (given | c.configuration.keys()):
            return (
                f"{c.name} has no pooling, head or loss of its own, and with these defaults it is the stock model: "
                "name a YAML file such as recipes/configs/custom.yaml in its place, or give it a --pooling."
            )
    return None


def make_runs(compared: list[Compared], seeds: list[int], jobs: int, folder: Path) -> None:
    """Make the runs that are not there yet, `jobs` at once.

    Raises:
        UserError: two of one name, fewer than two, a run that failed, or runs of another configuration are there.
    """
    names = [c.name for c in compared]
    if twice := sorted({name for name in names if names.count(name) > 1 and any(c.recipe for c in compared)}):
        raise UserError(f"{twice[0]} is named twice: compare different things, or give their files different names.")
    if len(compared) < 2:
        raise UserError("one thing alone cannot be compared: name two or more.")
    if jobs < 1:
        raise UserError(f"--jobs {jobs}: give 1 or more.")
    wanted = [(c, seed) for seed in seeds for c in compared if c.recipe]
    if not wanted and (folder / "compare.yaml").is_file():
        raise UserError(
            f"{folder} holds a comparison of recipes, whose report would be lost: name another --output_dir."
        )
    if sentence := twin_of_stock(compared):
        terminal.warn(sentence)
    for c in compared:
        _settle(c, folder)
    waiting = [(c, seed) for c, seed in wanted if not run_folder(folder, c, seed).is_finished]
    if wanted:
        terminal.say(f"{len(wanted)} runs, of which {len(wanted) - len(waiting)} are finished already.")
    failed = threading.Event()
    children = Children()

    def make(c: Compared, seed: int) -> tuple[Path, int]:
        run = run_folder(folder, c, seed).path
        if failed.is_set():
            return run, 0
        status = _start(children, c, seed, run, folder, jobs)
        if status:
            failed.set()
        else:
            terminal.say(f"{c.name}, seed {seed}: {_brief(run)}")
        return run, status

    with children, ThreadPoolExecutor(jobs) as pool:
        ended = list(pool.map(lambda both: make(*both), waiting))
    if children.received:
        raise StoppedError(
            f"the runs in {folder} have saved what they need, and the same command goes on from there.",
            children.received,
        )
    for run, status in ended:
        if status:
            raise failure_of(run, status)


def _configuration(config: Path) -> dict[str, Any]:
    path = find_configuration(config)
    if not path.is_file():
        raise UserError(f"{config} is not there.")
    return {key: value for key, value in read_yaml(path).items() if key != "recipe"}


def run_folder(folder: Path, c: Compared, seed: int) -> RunFolder:
    """Return where the run of `c` with `seed` goes."""
    return RunFolder(folder / f"{c.name}-seed-{seed}")


def _settle(c: Compared, folder: Path) -> None:
    """Write down what is to be compared, or check that it is what was written down before."""
    if not c.recipe:
        return
    written = folder / "compare.yaml"
    there = read_yaml(written) if written.is_file() else {}
    asked = {"recipe": c.recipe, "flags": c.flags, **c.configuration}
    if not any(folder.glob(f"{c.name}-seed-*/{RUN_FILE}")):
        # What was asked for before has made nothing, as where a flag was misspelt.
        there[c.name] = asked
    if found := differences(there.setdefault(c.name, asked), asked):
        raise UserError(
            f"{folder} holds runs of {c.name} with another configuration ({found}): name another --output_dir."
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_yaml(folder / f"{c.name}.yaml", {"recipe": c.recipe, **c.configuration})
    write_yaml(written, there)


def _start(children: Children, c: Compared, seed: int, run: Path, folder: Path, jobs: int) -> int:
    environment = dict(os.environ)
    if jobs > 1:
        environment["OMP_NUM_THREADS"] = str(max(1, cores() // jobs))
    flags = [*c.flags, "--seed", str(seed)]
    return children.run_recipe(str(c.recipe), folder / f"{c.name}.yaml", flags, run, environment)


def _brief(run: Path) -> str:
    return in_a_line(read_json(run / METRICS_FILE)["validation"], ("f1", "accuracy", "pearson", "mse"))


def finished(compared: list[Compared], seeds: list[int], folder: Path) -> list[Group]:
    """Read the finished runs.

    Raises:
        UserError: a run is incomplete, or runs differ in their data, splits or labels: what differs is named.
    """
    groups: dict[str, list[Path]] = {}
    same: list[tuple[dict[str, Any], str]] = []
    for c in compared:
        if c.recipe:
            groups[c.name] = [run_folder(folder, c, seed).path for seed in seeds]
            continue
        name = next((n for other, n in same if not differing(other, c.configuration, NOT_OF_IT)), None)
        if name is None:
            name = c.name if c.name not in groups else str(c.folders[0])
            same.append((c.configuration, name))
        groups.setdefault(name, []).extend(c.folders)
    if len(groups) < 2:
        raise UserError("these runs differ in their seeds alone: there is nothing to compare.")
    read = [read_group(name, folders) for name, folders in groups.items()]
    check_same_rows(read, "compared", corrected_apart=True)
    return read


def read_group(name: str, folders: list[Path]) -> Group:
    """Read the finished runs of one thing.

    Raises:
        UserError: one is incomplete, damaged or of an older version.
    """
    for run in folders:
        check_finished(run, str(run))
    metrics = [read_json(run / METRICS_FILE) for run in folders]
    rows = []
    for run, m in zip(folders, metrics, strict=True):
        labels = m.get("environment", {}).get("labels")
        if labels is None:
            raise UserError(f"{run} is a run of an older version, whose rows cannot be compared: run it again.")
        rows.append(Predictions.read(run, labels["names"], labels["problem_type"]))
    return Group(name, folders, metrics, rows)


def check_same_rows(groups: list[Group], done: str, *, corrected_apart: bool = False) -> None:
    """Check that runs have the same task, labels and data, and validation rows in the same folds.

    Args:
        groups: of runs.
        done: what is to be done with them, as in `compared`.
        corrected_apart: whether labels may differ where some were corrected.

    Raises:
        UserError: two differ: what does is named.
    """
    first = groups[0]
    for group in groups:
        for run, metrics, rows in zip(group.folders, group.metrics, group.predictions, strict=True):
            beside = first.folders[0], first.metrics[0], first.predictions[0]
            _same_rows(done, corrected_apart, beside, (run, metrics, rows))


def _same_rows(
    done: str,
    corrected_apart: bool,
    one: tuple[Path, dict[str, Any], Predictions],
    other: tuple[Path, dict[str, Any], Predictions],
) -> None:
    (there, a, rows_a), (here, b, rows_b) = one, other
    labels_a, labels_b = a["environment"]["labels"], b["environment"]["labels"]
    for what, key in (("task", "task"), ("labels", "names")):
        if labels_a[key] != labels_b[key]:
            raise UserError(
                f"{there} and {here} cannot be {done}: their {what} differ, {_listed(labels_a[key], labels_b[key])} "
                f"and {_listed(labels_b[key], labels_a[key])}."
            )
    data_a, data_b = a["environment"]["data"], b["environment"]["data"]
    # A test split has no part in it, but other test rows mean other data all the same.
    differ = [s for s in ("train", "validation", "test") if data_a.get(s) != data_b.get(s)]
    corrected = "corrections" in a["environment"] or "corrections" in b["environment"]
    cure = f"--dataset, --split_seed, --validation_size{', --corrections' * corrected} and --folds"
    corrected &= corrected_apart
    if corrected:
        # Other labels are what the runs differ in: apart_from_corrections looks at the rows that have the same.
        texts_a, texts_b = ([rows.columns.get(name) for name in (TEXT, TEXT_PAIR)] for rows in (rows_a, rows_b))
        differ = ["validation"] if texts_a != texts_b else []
    if differ:
        raise UserError(
            f"{there} and {here} cannot be {done}: their {' and '.join(differ)} rows differ in ids, texts or "
            f"labels; take the same {cure}."
        )
    folds = rows_a.columns.get(FOLD), rows_b.columns.get(FOLD)
    alike = corrected or np.array_equal(rows_a.labels, rows_b.labels)
    if rows_a.ids != rows_b.ids or not alike or folds[0] != folds[1]:
        raise UserError(
            f"{there} and {here} cannot be {done}: the rows of their {VALIDATION_FILE} or the "
            "folds of these differ; take the same --folds and --split_seed."
        )


def _listed(value: str | list[str], other: str | list[str]) -> str:
    """Return a task, or labels: of many first those that the other has not."""
    return value if isinstance(value, str) else some(sorted(value, key=lambda name: name in other))


def apart_from_corrections(groups: list[Group]) -> tuple[list[Group], str]:
    """Return the groups on the rows that have the same label in every run, and a sentence on the others, if any.

    Where labels were corrected for some of the runs, those would else be scored on easier rows. On the corrected rows
    every group is scored by the labels of each.

    Raises:
        UserError: no row has the same label in every run.
    """
    every = [rows for group in groups for rows in group.predictions]
    labels = np.stack([rows.labels for rows in every])
    same = (labels == labels[0]).reshape(len(every), len(labels[0]), -1).all(axis=(0, 2))
    if same.all():
        return groups, ""
    if not same.any():
        raise UserError("no row has the same label in all of these runs: there is nothing to compare them on.")
    said = []
    for group in groups:
        by = []
        for other in groups:
            apart = group.chosen[:, ~same] - other.predictions[0].labels[~same]
            values = group.predictions[0].problem_type == REGRESSION
            right = (
                np.abs(apart).mean() if values else 1 - (apart != 0).reshape(*apart.shape[:2], -1).any(axis=2).mean()
            )
            by.append(f"{right:.4g} by those of {other.name}")
        said.append(f"{group.name} has {'a mean error of' if values else 'accuracy'} {' and '.join(by)}")
    note = (
        f"Compared on the {same.sum():,} rows whose labels are the same in all runs. On the {(~same).sum():,} whose "
        f"labels differ, {'; '.join(said)}."
    )
    kept = [dataclasses.replace(g, predictions=[rows.select(same) for rows in g.predictions]) for g in groups]
    return kept, note


def compare_runs(groups: list[Group], folder: Path, command: str, note: str = "") -> list[Verdict]:
    """Return the verdict for every pair, and write `comparison.json`, `report.html` and `plots/`.

    Args:
        groups: of finished runs.
        folder: to write into.
        command: that repeats the comparison, for the page.
        note: what should be known of the rows.
    """
    # matplotlib takes a second to import, and only now is it needed.
    from bert_recipes.reporting.comparison_page import write_comparison

    folder.mkdir(parents=True, exist_ok=True)
    found = verdicts(groups)
    write_json(folder / "comparison.json", [_as_json(v) for v in found])
    write_comparison(folder, groups, found, command, note)
    return found


def say_verdicts(groups: list[Group], found: list[Verdict], folder: Path, note: str = "") -> None:
    """Say the scores, the verdicts and where the report is, after what should be known of the rows."""
    if note:
        terminal.say(note)
    for group in groups:
        terminal.say(f"{group.name}: {', '.join(f'{title} {score}' for title, score in mean_scores(group).items())}")
    for v in found:
        for sentence in v.sentences.values():
            terminal.say(sentence)
    terminal.say(f"The report is {folder}/report.html; the figures of it are in comparison.json.")


def mean_scores(group: Group) -> dict[str, str]:
    """Return the mean of each score over the seeds, with the standard deviation between them where there are some."""
    return {title: _mean_and_spread(scores_of(group, title)) for title in scores_for(group.predictions[0])}


def _mean_and_spread(values: np.ndarray) -> str:
    spread = f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else ""
    return f"{values.mean():.4f}{spread}"


def _as_json(v: Verdict) -> dict[str, Any]:
    differences = {
        title: {
            key: value.tolist() if isinstance(value, np.ndarray) else None if value != value else value
            for key, value in dataclasses.asdict(d).items()
        }
        for title, d in v.differences.items()
    }
    return {"a": v.a, "b": v.b, "verdict": v.sentences, "differences": differences}
