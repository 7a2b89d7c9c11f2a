"""The page of a run: `report.html`, made from the run folder, and the figures under `plots/`."""

import hashlib
import itertools
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bert_recipes import plots
from bert_recipes.calibration import scaled
from bert_recipes.files import writing
from bert_recipes.labels import REGRESSION, SINGLE_LABEL
from bert_recipes.predictions import FOLD, Predictions

PAGE = "report.html"
MOST_WRONG = 40
MOST_GROUPS = 20
MOST_VALUES = 25
MOST_DISAGREEMENTS = 8
# A column of the data speaks of groups if enough of its values have this many rows.
LEAST_ROWS = 5
SHOWN = {
    "f1": "F1",
    "accuracy": "accuracy",
    "f1_macro": "macro F1",
    "precision": "precision",
    "recall": "recall",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "f1_at_threshold": "F1 at the threshold",
    "accuracy_at_threshold": "accuracy at the threshold",
    "ece_scaled": "ECE, temperature-scaled",
    "brier_scaled": "Brier score, temperature-scaled",
    "mse": "mean squared error",
    "mae": "mean absolute error",
    "r2": "R²",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "loss": "loss",
}
environment = Environment(
    loader=PackageLoader("bert_recipes"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
environment.filters["p_value"] = lambda p: "< 0.0001" if p < 1e-4 else f"{p:.4f}"
environment.filters["score"] = lambda value: "" if value is None else f"{value:.4f}"


@dataclass(frozen=True)
class Clash:
    """Texts that are one but for links, names, case and punctuation, and whose labels differ."""

    rows: list[tuple[str, str, str, str]]  # split, id, label, text


def clashes(rows: Callable[[], Iterable[tuple[str, str, str, str]]]) -> list[Clash]:
    """Return the groups of near-duplicates with clashing labels, the largest first.

    Args:
        rows: called twice, yields split, id, label and text of each row. In between 16 bytes a row are kept.
    """
    both = ((_digest(key), _digest(row[2])) for row in rows() if (key := normalised(row[3])))
    pairs = np.unique(np.fromiter(both, dtype=[("text", "u8"), ("label", "u8")]))
    texts, labels = np.unique(pairs["text"], return_counts=True)
    clashing = set(texts[labels > 1].tolist())
    groups: dict[str, list] = {}
    for row in rows() if clashing else ():
        key = normalised(row[3])
        if key and _digest(key) in clashing:
            groups.setdefault(key, []).append(row)
    return sorted((Clash(group) for group in groups.values()), key=lambda clash: -len(clash.rows))


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def normalised(text: str) -> str:
    """Return the words of a text, lower case, without links, @names and punctuation."""
    text = re.sub(r"https?://\S+|@\w+|&\w+;", " ", text.lower())
    return " ".join(re.findall(r"\w+", text))


def write_report(
    folder: Path, metrics: dict, labelled: Callable[[], Iterable[tuple[str, str, str, str]]]
) -> list[str]:
    """Write `report.html` and `plots/` into a run folder; return, in sentences, what could not be shown and why.

    Args:
        folder: with run.yaml, validation_predictions.csv and, of a Trainer's run, trainer_state.json.
        metrics: what metrics.json holds, or is to hold.
        labelled: as `clashes` takes them, the labelled rows.

    Raises:
        UserError: validation_predictions.csv is missing or damaged.
    """
    clashing = clashes(labelled)
    configuration = _configuration(folder)
    data = metrics["environment"]["labels"]
    rows = Predictions.read(folder, data["names"], data["problem_type"])
    histories = _log_histories(folder)
    validation = metrics["validation"]
    figures, missing = _figures(rows, validation, histories, folder / "plots")
    page = environment.get_template("run.html").render(
        title=f"{folder.name}: {configuration['recipe']}",
        configuration={k: v for k, v in configuration.items() if v is not None},
        metrics=metrics,
        rows=len(rows.ids),
        out_of_fold=FOLD in rows.columns,
        chosen_there=_is_chosen_there(configuration),
        scores=_score_rows(metrics),
        figures=figures,
        missing=missing,
        headline=_headline(validation),
        per_label=_per_label(rows),
        per_value=_per_value(rows),
        most_wrong=_most_wrong(rows),
        clashes=clashing[:MOST_GROUPS],
        clash_count=len(clashing),
        cost=_cost(metrics),
        command=shlex.join(["python", f"recipes/{configuration['recipe']}.py", "--config", str(folder / "run.yaml")]),
        dump=yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True),
    )
    with writing(folder / PAGE) as file:
        file.write(page)
    return missing


def _log_histories(folder: Path) -> list[list[dict]]:
    """Return what was logged: in this run, or in each of its folds."""
    found = [folder / "trainer_state.json", *sorted(folder.glob("folds/*/trainer_state.json"))]
    return [json.loads(state.read_text(encoding="utf-8"))["log_history"] for state in found if state.is_file()]


def _headline(scores: dict) -> list[tuple[str, str]]:
    names = ("f1", "accuracy", "roc_auc", "ece") if "f1" in scores else ("pearson", "spearman", "mae", "r2")
    return [(SHOWN[name], f"{scores[name]:.3f}") for name in names if scores.get(name) is not None]


def _score_rows(metrics: dict) -> dict:
    splits = [split for split in ("validation", "test") if split in metrics]
    names = [n for n in SHOWN if any(metrics[split].get(n) is not None for split in splits)]
    return {"splits": splits, "rows": [(SHOWN[n], [metrics[split].get(n) for split in splits]) for n in names]}


def _cost(metrics: dict) -> list[tuple[str, str]]:
    train = metrics.get("train", {})
    found = [
        ("time to train", train.get("train_runtime"), lambda s: f"{s / 60:.1f} min" if s >= 90 else f"{s:.1f} s"),
        ("tokens per second", train.get("train_tokens_per_second"), lambda t: f"{t:,.0f}"),
        ("rows per second", train.get("train_samples_per_second"), lambda r: f"{r:,.1f}"),
        ("most memory of the process", train.get("peak_memory_mib"), lambda m: f"{m:,.0f} MiB"),
        ("most memory of the GPU", train.get("peak_gpu_memory_mib"), lambda m: f"{m:,.0f} MiB"),
        ("device", metrics["environment"].get("device"), str),
    ]
    return [(name, show(value)) for name, value, show in found if value is not None]


def _figures(rows: Predictions, scores: dict, histories: list[list[dict]], folder: Path) -> tuple[dict, list[str]]:
    """Draw what can be drawn; return the drawings by name and, in sentences, what could not be."""
    drawn: dict[str, Markup] = {}
    missing = []

    def draw(name: str, figure) -> None:
        drawn[name] = Markup(plots.save(figure, folder, name))

    entries = list(itertools.chain(*histories))
    if any("loss" in entry or "eval_loss" in entry for entry in entries):
        draw("loss", plots.loss_curves(histories))
    for name, title in (("f1", "F1"), ("pearson", "Pearson")):
        if any(f"eval_{name}" in entry for entry in entries):
            draw("score", plots.score_curves(histories, name, title))
    if rows.problem_type == REGRESSION:
        for i, name in enumerate(rows.label_names):
            draw(f"values_{i + 1}", plots.residuals(rows.labels[:, i], rows.probabilities[:, i], name))
        return drawn, missing
    wrong = rows.wrong
    if rows.problem_type == "single_label_classification":
        missing += _draw_classes(rows, scores, draw)
    lengths = np.array([len(text.split()) for text in rows.columns["text"]])
    draw("length", plots.error_by_length(lengths, wrong))
    return drawn, missing


def _draw_classes(rows: Predictions, scores: dict, draw) -> list[str]:
    missing = []
    names, labels, p = rows.label_names, rows.labels, rows.probabilities
    absent = [name for i, name in enumerate(names) if not (labels == i).any()]
    if absent:
        missing.append(
            f"No row of these has the label {', '.join(f'“{name}”' for name in absent)}: what needs every label, such "
            "as ROC AUC, is undefined."
        )
    if (np.ptp(p, axis=0) < 1e-7).all():
        missing.append(
            "Every row got the same probabilities: the model tells nothing apart, and no threshold can be chosen."
        )
    elif len(np.unique(rows.predicted)) == 1:
        missing.append(
            f"Every row is predicted as “{rows.prediction_texts[0]}”: whatever F1 says, nothing is told apart yet."
        )
    draw("confusion", plots.confusion(np.asarray(scores["confusion_matrix"]), names))
    if len(names) == 2 and not absent:
        threshold = scores.get("threshold")
        draw("precision_recall", plots.precision_recall(labels, p[:, 1], names[1], threshold))
        draw("roc", plots.roc(labels, p[:, 1], names[1], threshold))
    draw("reliability", plots.reliability_diagram(labels, p, scaled(p, scores["temperature"])))
    if len(names) == 2:
        draw("scores", plots.score_histogram(labels, p[:, 1], names, scores.get("threshold")))
    else:
        draw("scores", plots.confidence_histogram(~rows.wrong, p.max(axis=1)))
    return missing


def _per_label(rows: Predictions) -> list[dict]:
    if rows.problem_type == REGRESSION or (rows.problem_type == SINGLE_LABEL and len(rows.label_names) == 2):
        return []
    table = []
    truth, predicted = rows.indicators
    for i, name in enumerate(rows.label_names):
        right, said, there = (truth[:, i] & predicted[:, i]).sum(), predicted[:, i].sum(), truth[:, i].sum()
        table.append(
            {
                "name": name,
                "rows": int(there),
                "precision": right / said if said else None,
                "recall": right / there if there else None,
                "f1": 2 * right / (said + there) if said + there else None,
            }
        )
    return sorted(table, key=lambda row: -row["rows"])[: 4 * MOST_VALUES]


def _per_value(rows: Predictions) -> dict[str, list[dict]]:
    """Return the values of each column that groups the rows, those with the most wrong rows first."""
    if rows.problem_type == REGRESSION:
        return {}
    tables = {}
    wrong = rows.wrong
    for column, cells in rows.columns.items():
        if column in ("text", "text_pair", FOLD):
            continue
        values, which, count = np.unique(
            np.array(cells, dtype=object).astype(str), return_inverse=True, return_counts=True
        )
        usual = np.flatnonzero((count >= LEAST_ROWS) & (values != ""))
        if len(usual) < 2 or count[usual].sum() < len(cells) / 4:
            continue
        errors = np.bincount(which, wrong, minlength=len(values))
        worst = sorted(usual, key=lambda i: (-errors[i], count[i]))[:MOST_VALUES]
        tables[column] = [
            {"value": values[i], "rows": int(count[i]), "wrong": int(errors[i]), "share": errors[i] / count[i]}
            for i in worst
        ]
    return tables


def _most_wrong(rows: Predictions) -> list[dict]:
    shown, predicted = rows.label_texts, rows.prediction_texts
    out = []
    order = np.argsort(-rows.losses, kind="stable")
    if rows.problem_type != REGRESSION:
        order = order[rows.wrong[order]]
    for i in order[:MOST_WRONG]:
        confidence = None
        if rows.problem_type == SINGLE_LABEL:
            confidence = float(rows.probabilities[i].max())
        out.append(
            {
                "id": rows.ids[i],
                "text": rows.columns["text"][i],
                "text_pair": rows.columns.get("text_pair", {i: None})[i],
                "label": shown[i],
                "prediction": predicted[i],
                "confidence": confidence,
                "loss": float(rows.losses[i]),
            }
        )
    return out


def write_comparison(folder: Path, groups: list, verdicts: list) -> None:
    """Write `report.html` and `plots/` of a comparison into its folder.

    Args:
        folder: of the comparison.
        groups: of runs, as `bert_recipes.comparison.finished` returns them.
        verdicts: for every pair of them.
    """
    from bert_recipes.comparison import scores_for, scores_of

    rows = groups[0].predictions[0]
    titles = list(scores_for(rows))
    first = titles[0]
    by_group = {group.name: {title: scores_of(group, title) for title in titles} for group in groups}
    seconds = {g.name: float(np.mean([m["train"].get("train_runtime", np.nan) for m in g.metrics])) for g in groups}
    drawn = {}

    def draw(name: str, figure) -> None:
        drawn[name] = Markup(plots.save(figure, folder / "plots", name))

    draw("seeds", plots.seeds_as_dots({name: of[first] for name, of in by_group.items()}, first))
    intervals = [
        (f"{v.a} vs {v.b}", d.value, d.low, d.high, d.holm < 0.05) for v in verdicts if (d := v.differences[first])
    ]
    draw("differences", plots.differences(intervals, first))
    if all(s > 0 for s in seconds.values()):
        draw("cost", plots.cost_and_score(seconds, {n: of[first].mean() for n, of in by_group.items()}, first))
    page = environment.get_template("comparison.html").render(
        title=" or ".join(group.name for group in groups) + "?",
        data=", ".join(_configuration(groups[0].folders[0])["dataset"]),
        rows=len(rows.ids),
        out_of_fold=FOLD in rows.columns,
        choosing=[g.name for g in groups if any(_is_chosen_there(_configuration(f)) for f in g.folders)],
        titles=titles,
        first=first,
        verdicts=verdicts,
        groups=[
            {
                "name": g.name,
                "seeds": len(g.folders),
                "scores": [(by_group[g.name][t].mean(), _spread(by_group[g.name][t])) for t in titles],
                "seconds": seconds[g.name],
                "memory": max((m["train"].get("peak_memory_mib") or 0) for m in g.metrics) or None,
                "folders": [str(f) for f in g.folders],
            }
            for g in groups
        ],
        figures=drawn,
        disagreements=[] if rows.problem_type == REGRESSION else _disagreements(groups),
        command=shlex.join(["python", *sys.argv]),
        versions=groups[0].metrics[0]["environment"]["versions"],
    )
    with writing(folder / PAGE) as file:
        file.write(page)


def _spread(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


def _configuration(folder: Path) -> dict:
    return yaml.safe_load((folder / "run.yaml").read_text(encoding="utf-8"))


def _is_chosen_there(configuration: dict) -> bool:
    """Whether a run kept the checkpoint with the best score on the very rows that score it."""
    return configuration["recipe"] != "baseline" and configuration.get("load_best_model_at_end", False)


def _disagreements(groups: list) -> list[dict]:
    """Return, for each pair, rows where most seeds of one are right and most seeds of the other are not."""
    found = []
    rows = groups[0].predictions[0]
    share = {g.name: np.mean([~p.wrong for p in g.predictions], axis=0) for g in groups}
    labels = rows.label_texts
    for a, b in itertools.permutations([g.name for g in groups], 2):
        apart = share[a] - share[b]
        worst = np.argsort(-apart, kind="stable")[:MOST_DISAGREEMENTS]
        found.append(
            {
                "right": a,
                "wrong": b,
                "count": int((apart >= 0.5).sum()),
                "rows": [
                    {
                        "id": rows.ids[i],
                        "text": rows.columns["text"][i],
                        "label": labels[i],
                        "right": share[a][i],
                        "wrong": share[b][i],
                    }
                    for i in worst
                    if apart[i] >= 0.5
                ],
            }
        )
    return found
