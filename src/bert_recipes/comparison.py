"""Runs side by side: making them, reading them, and the verdict for every pair."""

import dataclasses
import itertools
import json
import os
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from bert_recipes import console
from bert_recipes.cpu import cores
from bert_recipes.errors import UserError
from bert_recipes.files import writing
from bert_recipes.labels import REGRESSION
from bert_recipes.predictions import FOLD, Predictions
from bert_recipes.significance import Difference, Score, accuracy, compare, f1, holm, r_squared, verdict

RECIPES = Path(__file__).parents[2] / "recipes"
NAMES = ("baseline", "stock", "custom")
# What tells runs of one thing apart from runs of another: not these.
NOT_OF_IT = {"seed", "output_dir", "data_seed"}


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
    configuration: dict = dataclasses.field(default_factory=dict)
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
            configuration = _yaml(path / "run.yaml")
            name = re.sub(r"(?<=.)[-_](seed[-_])?\d+$", "", path.resolve().name)
            return cls(name, None, configuration, [], (path,))
        if not path.is_file():
            raise UserError(f"{what} is no recipe ({', '.join(NAMES)}), no YAML file and no run's folder.")
        own = _yaml(path)
        recipe = own.pop("recipe", None)
        if recipe not in NAMES:
            raise UserError(f"{what} does not say of which recipe it is: add 'recipe: custom', or another of {NAMES}.")
        return cls(path.stem, recipe, _configuration(config) | own, flags)


@dataclass(frozen=True)
class Group:
    """The finished runs of one thing: a run for each seed."""

    name: str
    folders: list[Path]
    metrics: list[dict]
    predictions: list[Predictions]

    @property
    def chosen(self) -> np.ndarray:
        """What each run predicts, `[seeds, rows]`, or `[seeds, rows, num_labels]`."""
        return np.stack([p.predicted for p in self.predictions])

    @property
    def averaged(self) -> np.ndarray:
        """What the mean of the seeds' probabilities predicts, `[rows]` or `[rows, num_labels]`."""
        mean = np.mean([p.probabilities for p in self.predictions], axis=0)
        return dataclasses.replace(self.predictions[0], probabilities=mean).predicted


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
    for c in compared:
        _settle(c, folder)
    waiting = [(c, seed) for c, seed in wanted if not (run_folder(folder, c, seed) / "metrics.json").is_file()]
    if wanted:
        console.say(f"{len(wanted)} runs, of which {len(wanted) - len(waiting)} are finished already.")
    failed = threading.Event()

    def make(c: Compared, seed: int) -> tuple[Path, int]:
        run = run_folder(folder, c, seed)
        if failed.is_set():
            return run, 0
        status = _start(c, seed, run, folder, jobs)
        if status:
            failed.set()
        else:
            console.say(f"{c.name}, seed {seed}: {_brief(run)}")
        return run, status

    with ThreadPoolExecutor(jobs) as pool:
        ended = list(pool.map(lambda both: make(*both), waiting))
    for run, status in ended:
        if status:
            said = _last_line(run).removeprefix("error: ").rstrip(".")
            again = "" if status == 2 else "; the same command goes on from here"
            raise UserError(
                f"the run in {run} ended with status {status}: {said} (all that it said is in {run}.log{again})."
            )


def _configuration(config: Path) -> dict:
    return {key: value for key, value in _yaml(config).items() if key != "recipe"}


def run_folder(folder: Path, c: Compared, seed: int) -> Path:
    """Return where the run of `c` with `seed` goes."""
    return folder / f"{c.name}-seed-{seed}"


def _settle(c: Compared, folder: Path) -> None:
    """Write down what is to be compared, or check that it is what was written down before."""
    if not c.recipe:
        return
    written = folder / "compare.yaml"
    there = _yaml(written) if written.is_file() else {}
    asked = {"recipe": c.recipe, "flags": c.flags, **c.configuration}
    if not any(folder.glob(f"{c.name}-seed-*/run.yaml")):
        # What was asked for before has made nothing, as where a flag was misspelt.
        there[c.name] = asked
    before = there.setdefault(c.name, asked)
    if differing := sorted(key for key in {*before, *asked} if before.get(key) != asked.get(key)):
        differences = "; ".join(
            f"{key}: {_shown(before.get(key))} there, {_shown(asked.get(key))} here" for key in differing
        )
        raise UserError(
            f"{folder} holds runs of {c.name} with another configuration ({differences}): name another --output_dir."
        )
    folder.mkdir(parents=True, exist_ok=True)
    with writing(folder / f"{c.name}.yaml") as file:
        yaml.safe_dump({"recipe": c.recipe, **c.configuration}, file, sort_keys=False, allow_unicode=True)
    with writing(written) as file:
        yaml.safe_dump(there, file, sort_keys=False, allow_unicode=True)


def _start(c: Compared, seed: int, run: Path, folder: Path, jobs: int) -> int:
    command = [sys.executable, str(RECIPES / f"{c.recipe}.py"), "--config", str(folder / f"{c.name}.yaml")]
    command += [*c.flags, "--seed", str(seed), "--output_dir", str(run)]
    environment = dict(os.environ)
    if jobs > 1:
        environment["OMP_NUM_THREADS"] = str(max(1, cores() // jobs))
    with run.with_name(f"{run.name}.log").open("w", encoding="utf-8") as log:
        return subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment).returncode


def _last_line(run: Path) -> str:
    lines = run.with_name(f"{run.name}.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _brief(run: Path) -> str:
    scores = _json(run, "metrics.json")["validation"]
    shown = {"f1": "F1", "accuracy": "accuracy", "pearson": "Pearson", "mse": "mean squared error"}
    return ", ".join(f"{title} {scores[key]:.4f}" for key, title in shown.items() if key in scores)


def finished(compared: list[Compared], seeds: list[int], folder: Path) -> list[Group]:
    """Read the finished runs.

    Raises:
        UserError: a run is incomplete, or runs differ in their data, splits or labels: what differs is named.
    """
    groups: dict[str, list[Path]] = {}
    same: list[tuple[dict, str]] = []
    for c in compared:
        if c.recipe:
            groups[c.name] = [run_folder(folder, c, seed) for seed in seeds]
            continue
        own = {k: v for k, v in c.configuration.items() if k not in NOT_OF_IT}
        name = next((n for other, n in same if other == own), None)
        if name is None:
            name = c.name if c.name not in groups else str(c.folders[0])
            same.append((own, name))
        groups.setdefault(name, []).extend(c.folders)
    if len(groups) < 2:
        raise UserError("these runs differ in their seeds alone: there is nothing to compare.")
    read = [_group(name, folders) for name, folders in groups.items()]
    first = read[0]
    for group in read:
        for run, metrics, rows in zip(group.folders, group.metrics, group.predictions, strict=True):
            _same_data(first.folders[0], first.metrics[0], first.predictions[0], run, metrics, rows)
    return read


def _group(name: str, folders: list[Path]) -> Group:
    metrics = [_json(run, "metrics.json") for run in folders]
    rows = []
    for run, m in zip(folders, metrics, strict=True):
        labels = m.get("environment", {}).get("labels")
        if labels is None:
            raise UserError(f"{run} is a run of an older version, whose rows cannot be compared: run it again.")
        rows.append(Predictions.read(run, labels["names"], labels["problem_type"]))
    return Group(name, folders, metrics, rows)


def _same_data(there: Path, a: dict, rows_a: Predictions, here: Path, b: dict, rows_b: Predictions) -> None:
    labels_a, labels_b = a["environment"]["labels"], b["environment"]["labels"]
    for what, key in (("task", "task"), ("labels", "names")):
        if labels_a[key] != labels_b[key]:
            raise UserError(
                f"{there} and {here} cannot be compared: their {what} differ, {_listed(labels_a[key])} and "
                f"{_listed(labels_b[key])}."
            )
    data_a, data_b = a["environment"]["data"], b["environment"]["data"]
    # A test split has no part in it, but other test rows mean other data all the same.
    differ = [s for s in ("train", "validation", "test") if data_a.get(s) != data_b.get(s)]
    if differ:
        raise UserError(
            f"{there} and {here} cannot be compared: their {' and '.join(differ)} rows differ in ids, texts or "
            "labels; take the same --dataset, --split_seed, --validation_size and --folds."
        )
    folds = rows_a.columns.get(FOLD), rows_b.columns.get(FOLD)
    if rows_a.ids != rows_b.ids or not np.array_equal(rows_a.labels, rows_b.labels) or folds[0] != folds[1]:
        raise UserError(
            f"{there} and {here} cannot be compared: the rows of their validation_predictions.csv or the "
            "folds of these differ; take the same --folds and --split_seed."
        )


def _shown(value) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _listed(value) -> str:
    return value if isinstance(value, str) else ", ".join(value)


@dataclass(frozen=True)
class Verdict:
    """What is known of one pair: the difference in each score, and a sentence for each."""

    a: str
    b: str
    differences: dict[str, Difference]
    sentences: dict[str, str]


def scores_for(rows: Predictions) -> dict[str, Score]:
    """Return the scores that decide, by the name that a person reads."""
    if rows.problem_type == REGRESSION:
        return {"R²": r_squared()}
    several = rows.labels.ndim == 2
    return {"F1": f1(len(rows.label_names), several), "accuracy": accuracy()}


def verdicts(groups: list[Group]) -> list[Verdict]:
    """Compare every pair; the p-values are corrected for the number of pairs (Holm)."""
    rows = groups[0].predictions[0]
    pairs = list(itertools.combinations(groups, 2))
    found: list[dict[str, Difference]] = [{} for _ in pairs]
    for title, score in scores_for(rows).items():
        raw = [compare(score, rows.labels, a.chosen, b.chosen, (a.averaged, b.averaged)) for a, b in pairs]
        corrected = holm([d.p for d in raw])
        mcnemar = holm([d.mcnemar for d in raw]) if rows.problem_type != REGRESSION else [float("nan")] * len(raw)
        for of_pair, d, p, m in zip(found, raw, corrected, mcnemar, strict=True):
            of_pair[title] = dataclasses.replace(d, holm=p, mcnemar_holm=m)
    return [
        Verdict(a.name, b.name, d, {t: verdict(a.name, b.name, t, x, len(pairs)) for t, x in d.items()})
        for (a, b), d in zip(pairs, found, strict=True)
    ]


def compare_runs(groups: list[Group], folder: Path) -> None:
    """Say the verdict for every pair, and write `comparison.json`, `report.html` and `plots/` into `folder`."""
    # matplotlib takes a second to import, and only now is it needed.
    from bert_recipes.report import write_comparison

    folder.mkdir(parents=True, exist_ok=True)
    found = verdicts(groups)
    with writing(folder / "comparison.json") as file:
        json.dump([_as_json(v) for v in found], file, indent=2)
    write_comparison(folder, groups, found)
    for group in groups:
        console.say(
            f"{group.name}: " + ", ".join(_mean_and_spread(group, t) for t in scores_for(group.predictions[0]))
        )
    for v in found:
        for sentence in v.sentences.values():
            console.say(sentence)
    console.say(f"The report is {folder}/report.html; the figures of it are in comparison.json.")


def scores_of(group: Group, title: str) -> np.ndarray:
    """Return the score of each seed, `[seeds]`."""
    rows = group.predictions[0]
    score = scores_for(rows)[title]
    return np.array([score.of_sums(score.terms(rows.labels, chosen).sum(axis=0)) for chosen in group.chosen])


def _mean_and_spread(group: Group, title: str) -> str:
    values = scores_of(group, title)
    spread = f" ± {values.std(ddof=1):.4f}" if len(values) > 1 else ""
    return f"{title} {values.mean():.4f}{spread}"


def _as_json(v: Verdict) -> dict:
    differences = {
        title: {
            key: value.tolist() if isinstance(value, np.ndarray) else None if value != value else value
            for key, value in dataclasses.asdict(d).items()
        }
        for title, d in v.differences.items()
    }
    return {"a": v.a, "b": v.b, "verdict": v.sentences, "differences": differences}


def _json(folder: Path, name: str) -> dict:
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{folder} is no complete run: it has no {name}; give its command again.") from error
    except ValueError as error:
        raise UserError(f"{folder / name} is damaged ({error}): run it again.") from error


def _yaml(path: Path) -> dict:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if path.name == "run.yaml":
            raise UserError(f"{path.parent} is no run: it has no run.yaml.") from error
        raise UserError(f"{path} is not there.") from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML that can be read: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold keys and values.")
    return values
