"""An audit of the data: every row predicted by models that were not trained on it, and what speaks against it."""

import csv
import itertools
import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table
from scipy.sparse import csr_matrix

from bert_recipes import terminal
from bert_recipes.columns import ID, LABELS, TRUNCATED
from bert_recipes.config.arguments import AuditArguments
from bert_recipes.config.parsing import Arguments
from bert_recipes.config.saved import METRICS_FILE, NOT_COMPARED, RUN_FILE, differences, saved_configuration
from bert_recipes.data.digests import digests
from bert_recipes.data.loading import TextData
from bert_recipes.data.splits import column
from bert_recipes.data.suspects import EMPTY, ENCODING, LANGUAGE, LENGTH, suspect_texts
from bert_recipes.data.tokenization import tokenize
from bert_recipes.errors import StoppedError, UserError
from bert_recipes.evaluation.audit import LabelAudit, audit_labels, audit_values, likely_right
from bert_recipes.evaluation.decoding import label_texts_of, predictions_of
from bert_recipes.evaluation.prediction_files import Predictions
from bert_recipes.files import read_json, write_json, write_yaml, writing
from bert_recipes.modeling.baseline import Baseline, Ngrams, texts_of
from bert_recipes.modeling.loading import load_tokenizer
from bert_recipes.modeling.pretrained import resolve_model
from bert_recipes.owned_folder import OwnedFolder, holding
from bert_recipes.reporting.audit_page import AUDIT_PAGE, MOST_ROWS, neighbours, shortened, write_audit
from bert_recipes.reporting.near_duplicates import clashes, normalised
from bert_recipes.runs.children import Children, failure_of, log_of
from bert_recipes.runs.folder import RunFolder
from bert_recipes.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL

AUDIT_FILE, NUMBERS_FILE, RECIPE = "audit.csv", "audit.json", "custom"
AUDIT_FILES = (AUDIT_FILE, AUDIT_PAGE, NUMBERS_FILE, f"{RECIPE}.yaml", f"{RECIPE}.log")
HEADER = ("id", "split", "issue", "label", "suggested", "score", "group", "text")
LABEL, CLASH, LEAK, TRUNCATED_TEXT = "label", "duplicate-clash", "leak", "truncated"
# In this order below those that have a score.
ISSUES = (LABEL, CLASH, LEAK, TRUNCATED_TEXT, EMPTY, ENCODING, LENGTH, LANGUAGE)
# With fewer labelled rows nothing can be said of any of them.
FEWEST_ROWS = 20
FOLDS = 5
# Labels whose probabilities the page shows.
MOST_OPINIONS = 5
# A regression's value is suspicious when it is further than so many spreads from what is predicted.
SUSPICIOUS_SPREADS = 4.0


class Suspect(NamedTuple):
    """A line of audit.csv, and the number of its row in the split.

    `score` is 0 where an issue is a fact, and not a matter of degree.
    """

    id: str
    split: str
    issue: str
    label: str
    suggested: str | None
    score: float
    group: str
    text: str
    row: int


class Audit:
    """What speaks against the rows of a data set.

    Args:
        args: of recipes/audit.py.
        data: with the splits of its source.

    Raises:
        UserError: there are too few labelled rows, all of one label, or fewer distinct texts than folds.
    """

    def __init__(self, args: Arguments[AuditArguments], data: TextData):
        self.args, self.data, self.task = args, data, data.task
        self.folds = args.data.folds or FOLDS
        self.folder = Path(args.training.output_dir)
        self.train = data.splits["train"]
        # A label of other splits is audited too: no model is trained on it.
        self.labelled = {name: rows for name, rows in data.splits.items() if LABELS in rows.column_names}
        self.labels = {name: column(rows, LABELS) for name, rows in self.labelled.items()}
        # For a person to read: of a pair both, a line each.
        self.texts = {name: texts_of(rows, "\n") for name, rows in data.splits.items()}
        if args.data.refit:
            raise UserError("--refit has no part in an audit, whose rows are predicted by the folds: leave it out.")
        if (self.folder / RUN_FILE).is_file():
            raise UserError(f"{self.folder} holds a run: name another --output_dir.")
        if len(self.train) < FEWEST_ROWS:
            raise UserError(
                f"train has {len(self.train)} rows, and an audit needs {FEWEST_ROWS}: read them one by one instead."
            )
        if self.task.problem_type == SINGLE_LABEL and len(np.unique(self.labels["train"])) < 2:
            raise UserError(
                f"all rows of train have one label, '{self.task.label_names[self.labels['train'][0]]}': there is "
                "nothing that a label could be mistaken for."
            )

    def write(self) -> Path:
        """Make the audit, write audit.csv and audit.json, and say what was found; return the first.

        Raises:
            UserError: the recipe failed, or another process works in the folder.
            StoppedError: a signal came while the recipe was trained.
        """
        for note in self.data.notes:
            terminal.say(note, style="dim")
        # Now rather than after a minute of fitting, if it cannot be had.
        model = self.args.model
        self.model_dir = resolve_model(model.model, trust_remote_code=model.trust_remote_code)
        self.folder.mkdir(parents=True, exist_ok=True)
        with holding(folder := OwnedFolder(self.folder, "audit", AUDIT_FILES)):
            folder.remove_temporary_files()
            asked = self.ask()
            numbers, found = self._suspects(asked)
            self._write_page(asked, numbers, found)
            with writing(self.folder / AUDIT_FILE) as file:
                out = csv.writer(file)
                out.writerow(HEADER)
                out.writerows((*s[:5], f"{s.score:.6f}", s.group, s.text) for s in found)
            write_json(self.folder / NUMBERS_FILE, numbers)
        self._say(numbers)
        return self.folder / AUDIT_FILE

    # Who is asked

    def ask(self) -> list[dict[str, np.ndarray]]:
        """Return what the baseline and, unless `--quick`, the recipe give for rows that they were not trained on.

        Of each, by split, `[repeats, rows, num_labels]`; the recipe is asked about train alone.

        Raises:
            UserError: the recipe failed.
            StoppedError: a signal came while the recipe was trained.
        """
        asked = [self._baseline()]
        if not self.args.model.quick:
            asked.append(self._recipe())
        return asked

    def _baseline(self) -> dict[str, np.ndarray]:
        """Return what the baseline gives for the rows of each labelled split, `[repeats, rows, num_labels]`.

        Where one label holds it is asked twice as often, `[2 * repeats, ...]`: the second time it was fitted without
        the rows whose labels it had found likely wrong, from which it would learn to find them right.
        """
        fits = self.args.model.repeats * self.folds * (2 if self.task.problem_type == SINGLE_LABEL else 1)
        with terminal.waiting(f"Fitting the baseline {fits} times"):
            ngrams = Ngrams(self.args.data.normalize)
            counts = {"train": ngrams.learn(texts_of(self.train))}
            counts |= {name: ngrams.count(texts_of(rows)) for name, rows in self.labelled.items() if name != "train"}
            are_characters = ngrams.are_characters
            del ngrams  # of 200,000 texts it holds millions of strings
            seed = self.args.data.split_seed
            folds = [self.data.folds(self.folds, seed + repeat) for repeat in range(self.args.model.repeats)]
            found = self._fitted(counts, are_characters, folds, np.ones(len(self.train), dtype=bool))
            if self.task.problem_type != SINGLE_LABEL:
                return found
            labels = self.labels["train"]
            right = likely_right(labels, audit_labels(labels, found["train"]))
            again = self._fitted(counts, are_characters, folds, right)
        return {name: np.concatenate([found[name], again[name]]) for name in found}

    def _fitted(
        self, counts: dict[str, csr_matrix], are_characters: np.ndarray, folds: list[np.ndarray], kept: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Return what baselines give that are fitted to the rows `kept` of train, by split as `counts` are.

        Args:
            counts: of n-grams, by split.
            are_characters: as `Ngrams` tells.
            folds: of each repeat, `[rows]`.
            kept: whether a row may be learned from, `[rows]`.
        """
        labels = self.labels["train"]
        found = {
            name: np.zeros((len(folds), of_split.shape[0], self.task.num_labels)) for name, of_split in counts.items()
        }
        for repeat, fold_of in enumerate(folds):
            for fold in range(self.folds):
                inside, learned = fold_of == fold, kept & (fold_of != fold)
                model = Baseline(self.task, self.args.training.seed + repeat)
                model.fit_counts(counts["train"][learned], are_characters, labels[learned])
                found["train"][repeat, inside] = model.predict_counts(counts["train"][inside])
                for name in counts.keys() - {"train"}:
                    found[name][repeat] += model.predict_counts(counts[name]) / self.folds
        return found

    def _recipe(self) -> dict[str, np.ndarray]:
        """Return what the custom recipe gives for train, `[1, rows, num_labels]`; it resumes where it was stopped."""
        run, config = self.folder / RECIPE, self.folder / f"{RECIPE}.yaml"
        own = {"quick", "repeats", "recipe", "output_dir", "overwrite"}
        asked = {name: value for name, value in self.args.configuration.items() if name not in own}
        asked |= {"recipe": RECIPE, "folds": self.folds, "refit": False}
        is_there = RunFolder(run).is_finished and not self.args.training.overwrite
        if is_there:
            there = saved_configuration(run)
            # What is left open is written down as it was found.
            left_open = {name for name in there if asked.get(name) is None}
            if found := differences(there, asked, NOT_COMPARED | left_open):
                raise UserError(
                    f"{run} was made with another configuration ({found}): give --overwrite to make it anew."
                )
        write_yaml(config, asked)
        if is_there:
            terminal.say(f"{run} is finished already.")
        else:
            self._train(run, config)
        if read_json(run / METRICS_FILE)["environment"]["data"]["train"] != digests(self.data)["train"]:
            raise UserError(f"{run} was made of other rows: give --overwrite to make it anew.")
        rows = Predictions.read(run, self.task.label_names, self.task.problem_type)
        return {"train": rows.probabilities[None]}

    def _train(self, run: Path, config: Path) -> None:
        flags = ["--overwrite"] if self.args.training.overwrite else []
        terminal.say(f"Training the custom recipe on {self.folds} folds: what it says goes into {log_of(run)}.")
        with Children() as children:
            status = children.run_recipe(RECIPE, config, flags, run, dict(os.environ))
        if children.received:
            raise StoppedError(f"{run} has saved what it needs, and the same command goes on.", children.received)
        if status:
            raise failure_of(run, status)

    def _write_page(self, asked: list[dict[str, np.ndarray]], numbers: dict[str, Any], found: list[Suspect]) -> None:
        """Write the page on which a person decides the suspicious labels."""
        problem, names = self.task.problem_type, self.task.label_names
        shown = [line for line in found if line.issue in (LABEL, CLASH)]
        listed = shown[:MOST_ROWS]
        splits = [*self.labelled]
        starts = dict(zip(splits, np.cumsum([0, *(len(rows) for rows in self.labelled.values())]), strict=False))
        texts = [text for split in splits for text in self.texts[split]]
        every = [label for split in splits for label in self._as_texts(self.labels[split])]
        near = neighbours(texts, every, [int(starts[line.split]) + line.row for line in listed])
        means = {
            name: {split: of_split.mean(axis=0) for split, of_split in part.items()}
            for name, part in zip(("baseline", RECIPE), asked, strict=False)
        }
        items = [
            {
                **(line._asdict() | {"text": shortened(line.text)}),
                "neighbours": of_row,
                "models": {
                    name: _opinions(mean[line.split][line.row], names)
                    for name, mean in means.items()
                    if line.split in mean
                },
            }
            for line, of_row in zip(listed, near, strict=True)
        ]
        about = {
            "source": self.data.source,
            "labels": names if problem == SINGLE_LABEL else [],
            "names": names,
            "several": problem == MULTI_LABEL,
            "values": problem == REGRESSION,
            "stop_at": numbers["stop_at"],
            "likely_wrong": round(sum(of_label["wrong"] for of_label in numbers["labels"].values())),
            "more": len(shown) - len(listed),
        }
        write_audit(self.folder, items, about)

    # What they say

    def _suspects(self, asked: list[dict[str, np.ndarray]]) -> tuple[dict[str, Any], list[Suspect]]:
        """Return the numbers of the audit and its lines, the most suspicious first."""
        read: list[Suspect] = []
        wrong = np.zeros(self.task.num_labels)
        for name in self.labelled:
            parts = [part[name] for part in asked if name in part]
            # Each kind of model counts the same, however often it was asked.
            weights = [1 / len(part) for part in parts for _ in part]
            lines, estimated = self._suspicious_labels(name, np.concatenate(parts), weights)
            read += lines
            wrong += estimated
        clashing, leaking = self._copies()
        read = sorted([*read, *clashing], key=lambda line: -line.score)
        of_labels = [number for number, line in enumerate(read, start=1) if line.issue == LABEL]
        stop = min(round(float(wrong.sum())), len(of_labels))
        lines = [*read, *leaking, *self._broken()]
        counts = self._rows_of_labels()
        numbers = {
            "labels": {
                name: {"rows": int(rows), "wrong": float(round(w, 1))}
                for name, rows, w in zip(self.task.label_names, counts, wrong, strict=True)
            },
            "issues": {issue: count for issue in ISSUES if (count := sum(line.issue == issue for line in lines))},
            "stop_at": of_labels[stop - 1] if stop else 0,
            "asked": [name for name, part in zip(("baseline", RECIPE), asked, strict=False) if part],
            "folds": self.folds,
            "repeats": self.args.model.repeats,
            "data": {"source": self.data.source, "rows": {name: len(rows) for name, rows in self.data.splits.items()}},
        }
        return numbers, lines

    def _rows_of_labels(self) -> np.ndarray:
        """Return of how many rows each label, or target, is audited, `[num_labels]`: of several labels of all."""
        every = np.concatenate([*self.labels.values()])
        if self.task.problem_type == SINGLE_LABEL:
            return np.bincount(every, minlength=self.task.num_labels)
        return np.full(every.shape[1], len(every))

    def _suspicious_labels(
        self, split: str, probabilities: np.ndarray, weights: list[float]
    ) -> tuple[list[Suspect], np.ndarray]:
        """Return a line for each label of a split that is worth a look, and how many of each are estimated wrong."""
        labels, names = self.labels[split], self.task.label_names
        mean = np.average(probabilities, axis=0, weights=weights)
        if self.task.problem_type == REGRESSION:
            spreads = audit_values(labels, probabilities, weights)
            chosen = np.flatnonzero((spreads > SUSPICIOUS_SPREADS).any(axis=1))
            given, suggested = self._as_texts(labels[chosen]), predictions_of(mean[chosen], names, REGRESSION)
            scores = (spreads / (1 + spreads)).max(axis=1)
            return self._lines(split, chosen, given, suggested, scores[chosen]), (spreads > SUSPICIOUS_SPREADS).sum(
                axis=0
            )
        if self.task.problem_type == SINGLE_LABEL:
            audited = audit_labels(labels, probabilities, weights)
            chosen = _worth_a_look(labels, audited)
            others = np.where(audited.suggested == labels, _second(mean, labels), audited.suggested)
            given, suggested = ([names[i] for i in ids[chosen]] for ids in (labels, others))
            return self._lines(split, chosen, given, suggested, audited.scores[chosen]), audited.wrong
        lines, wrong = [], np.zeros(len(names))
        for i in range(len(names)):
            own = labels[:, i].astype(int)
            audited = audit_labels(own, np.stack([1 - probabilities[:, :, i], probabilities[:, :, i]], 2), weights)
            chosen = _worth_a_look(own, audited)
            turned = labels[chosen].copy()
            turned[:, i] = 1 - turned[:, i]
            given, suggested = self._as_texts(labels[chosen]), self._as_texts(turned)
            lines += self._lines(split, chosen, given, suggested, audited.scores[chosen])
            wrong[i] = audited.wrong.sum()
        return lines, wrong

    def _as_texts(self, values: np.ndarray) -> list[str]:
        """Return labels as validation_predictions.csv spells them."""
        return label_texts_of(values, self.task.label_names, self.task.problem_type)

    def _lines(
        self, split: str, chosen: np.ndarray, given: list[str], suggested: list[str], scores: np.ndarray
    ) -> list[Suspect]:
        ids, numbers = self.labelled[split].select(chosen)[ID], chosen.tolist()
        both = zip(ids, given, suggested, scores.tolist(), numbers, strict=True)
        texts = self.texts[split]
        return [Suspect(name, split, LABEL, a, b, score, "", texts[row], row) for name, a, b, score, row in both]

    def _copies(self) -> tuple[list[Suspect], list[Suspect]]:
        """Return the lines of copies whose labels clash, and of texts outside of train that stand in train.

        Copies are texts that are one but for links, names, case and punctuation; their group is the id of the first.
        """
        numbers = {
            (split, name, text): row
            for split, rows in self.labelled.items()
            for row, (name, text) in enumerate(zip(rows[ID], self.texts[split], strict=True))
        }
        clashing = []
        for clash in clashes(self.data.labelled_rows):
            labels = Counter(label for _, _, label, _ in clash.rows)
            (most, count), *_ = labels.most_common()
            # Where as many say one thing as another, nothing is suggested.
            suggested = None if list(labels.values()).count(count) > 1 else most
            for split, name, label, text in clash.rows:
                score, row = 1 - labels[label] / len(clash.rows), numbers[split, name, text]
                clashing.append(Suspect(name, split, CLASH, label, suggested, score, clash.rows[0][1], text, row))
        first: dict[str, str] = {}
        leaking = []
        for split, rows in self.data.splits.items():
            for row, (name, text) in enumerate(zip(rows[ID], self.texts[split], strict=True)):
                if not (key := normalised(text)):
                    continue
                if split == "train":
                    first.setdefault(key, name)
                elif key in first:
                    leaking.append(Suspect(name, split, LEAK, "", "", 0.0, first[key], text, row))
        return clashing, leaking

    def _broken(self) -> list[Suspect]:
        """Return the lines of texts that are truncated, empty, broken, or unlike the others."""
        trust = self.args.model.trust_remote_code
        tokenizer = load_tokenizer(self.model_dir, trust, self.args.data.normalize)
        tokenized = tokenize(
            self.data.splits,
            tokenizer,
            self.args.data.max_length,
            self.model_dir,
            trust,
            self.args.data.reading,
        )
        of_all = iter(suspect_texts(itertools.chain.from_iterable(self.texts.values())))
        lines = []
        for split, rows in self.data.splits.items():
            cut = column(tokenized[split], TRUNCATED)
            for row, (name, text, is_cut) in enumerate(zip(rows[ID], self.texts[split], cut, strict=True)):
                issues = [*([TRUNCATED_TEXT] if is_cut else []), *next(of_all)]
                lines += [Suspect(name, split, issue, "", "", 0.0, "", text, row) for issue in issues]
        return sorted(lines, key=lambda line: ISSUES.index(line.issue))

    def _say(self, numbers: dict[str, Any]) -> None:
        table = Table()
        for name, side in (("label", "left"), ("rows", "right"), ("likely wrong", "right"), ("share", "right")):
            table.add_column(name, justify=side)  # type: ignore[arg-type]
        for name, of_label in numbers["labels"].items():
            share = of_label["wrong"] / max(of_label["rows"], 1)
            cells = f"{of_label['rows']:,}", f"{of_label['wrong']:,.0f}", f"{share:.1%}"
            table.add_row(terminal.as_markup(name), *cells)
        terminal.console.print(table)
        others = [f"{count:,} {issue}" for issue, count in numbers["issues"].items() if issue != LABEL]
        terminal.say(f"Of other kinds: {', '.join(others) or 'none'}.")
        path = self.folder / AUDIT_FILE
        if numbers["stop_at"]:
            last = f"{numbers['stop_at']:,}"
            terminal.say(f"Read {path} down to row {last}: about as many labels as are likely wrong stand there.")
        else:
            terminal.say(f"No label is likely wrong; {path} has those that look the least right.")


def _worth_a_look(labels: np.ndarray, audited: LabelAudit) -> np.ndarray:
    """Return the rows to list: whose label is not the likeliest, and twice as many as are estimated to be wrong."""
    most = 2 * round(audited.wrong.sum())
    return np.union1d(np.flatnonzero(audited.suggested != labels), audited.order[:most])


def _second(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the likeliest class of each row but for the given one, `[rows]`."""
    others = probabilities.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return others.argmax(axis=1)


def _opinions(values: np.ndarray, names: list[str]) -> list[tuple[str, float]]:
    """Return the labels that are likeliest, with their probabilities, or the values of a regression."""
    most = np.argsort(-values, kind="stable")[:MOST_OPINIONS]
    return [(names[i], round(float(values[i]), 4)) for i in most]
