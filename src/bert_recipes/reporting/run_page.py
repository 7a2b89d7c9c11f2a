"""The page of a run: `report.html`, made from the run folder, and the figures under `plots/`."""

import itertools
import json
import re
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import yaml

from bert_recipes.columns import FOLD, TEXT, TEXT_PAIR
from bert_recipes.config.saved import BLEND, RUN_FILE, saved_configuration
from bert_recipes.errors import some
from bert_recipes.evaluation.calibration import scaled
from bert_recipes.evaluation.prediction_files import Predictions
from bert_recipes.evaluation.titles import SCORED_SPLITS, TITLES
from bert_recipes.files import writing
from bert_recipes.reporting import plots
from bert_recipes.reporting.documents import how_it_ended
from bert_recipes.reporting.near_duplicates import clashes
from bert_recipes.reporting.pages import PAGE, Drawings, environment, is_chosen_there, shown_score, title_of
from bert_recipes.task import REGRESSION, SINGLE_LABEL

MOST_WRONG = 40
MOST_GROUPS = 20
MOST_VALUES = 25
# Figures of a regression, one for each target.
MOST_TARGETS = 12
# A column of the data speaks of groups if enough of its values have this many rows.
LEAST_ROWS = 5


def write_report(
    folder: Path, metrics: dict[str, Any], labelled: Callable[[], Iterable[tuple[str, str, str, str]]]
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
    configuration = saved_configuration(folder)
    data = metrics["environment"]["labels"]
    rows = Predictions.read(folder, data["names"], data["problem_type"])
    histories = _log_histories(folder)
    validation = metrics["validation"]
    figures, missing = _figures(rows, validation, histories, folder)
    missing += figures.undrawn_said
    page = environment.get_template("run.html").render(
        title=title_of(folder, configuration["recipe"]),
        configuration={k: v for k, v in configuration.items() if v is not None},
        metrics=metrics,
        rows=len(rows.ids),
        out_of_fold=FOLD in rows.columns,
        chosen_there=is_chosen_there(configuration),
        scores=_score_rows(metrics),
        figures=figures,
        stopping=" ".join(how_it_ended(configuration, metrics)).replace("`", ""),
        missing=missing,
        headline=_headline(validation),
        badly_scaled=_badly_scaled(metrics),
        per_label=_per_label(rows),
        per_value=_per_value(rows),
        most_wrong=_most_wrong(rows),
        clashes=clashing[:MOST_GROUPS],
        clash_count=len(clashing),
        cost=_cost(metrics),
        blend=metrics.get("blend"),
        command=_command(folder, configuration),
        dump=yaml.safe_dump(configuration, sort_keys=False, allow_unicode=True),
    )
    with writing(folder / PAGE) as file:
        file.write(page)
    return missing


def _command(folder: Path, configuration: dict[str, Any]) -> str:
    """Return what repeats the run, but for its folder."""
    start = ["python", "-m", f"bert_recipes.recipes.{configuration['recipe']}"]
    if configuration["recipe"] != BLEND:
        return shlex.join([*start, "--config", str(folder / RUN_FILE)])
    asked = [word for name in ("decision", "submission") if (v := configuration[name]) for word in (f"--{name}", v)]
    return shlex.join([*start, *configuration["runs"], *asked])


def _log_histories(folder: Path) -> list[list[dict[str, Any]]]:
    """Return what was logged: in this run, or in each of its folds."""
    found = [folder / "trainer_state.json", *sorted(folder.glob("folds/*/trainer_state.json"))]
    return [json.loads(state.read_text(encoding="utf-8"))["log_history"] for state in found if state.is_file()]


def _headline(scores: dict[str, Any]) -> list[tuple[str, str]]:
    names = ("f1", "accuracy", "roc_auc", "ece") if "f1" in scores else ("pearson", "spearman", "mae", "r2")
    found = [(TITLES[name], scores[name]) for name in names if scores.get(name) is not None]
    return [(title, f"{value:.3f}" if abs(value) < 100 else shown_score(value)) for title, value in found]


def _badly_scaled(metrics: dict[str, Any]) -> str | None:
    """Say so where temperature scaling made the calibration worse; its temperature is chosen by cross entropy."""
    worse: list[str] = []
    better: list[str] = []
    for split in SCORED_SPLITS:
        scores = metrics.get(split, {})
        for name in ("ece", "brier"):
            before, after = scores.get(name), scores.get(f"{name}_scaled")
            if before is None or after is None or shown_score(before) == shown_score(after):
                continue
            said = f"{TITLES[name]} on {split} from {shown_score(before)} to {shown_score(after)}"
            (worse if after > before else better).append(said)
    if not worse:
        return None
    advice = "its benefit is not certain" if better else "use the probabilities as they were predicted"
    return f"Temperature scaling made the calibration worse here: {', '.join(worse)}. So {advice}."


def _score_rows(metrics: dict[str, Any]) -> dict[str, Any]:
    splits = [split for split in SCORED_SPLITS if split in metrics]
    names = [n for n in TITLES if any(metrics[split].get(n) is not None for split in splits)]
    return {"splits": splits, "rows": [(TITLES[n], [metrics[split].get(n) for split in splits]) for n in names]}


def _cost(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    train = metrics.get("train", {})
    found: list[tuple[str, Any, Callable[[Any], str]]] = [
        ("time to train", train.get("train_runtime"), lambda s: f"{s / 60:.1f} min" if s >= 90 else f"{s:.1f} s"),
        ("tokens per second", train.get("train_tokens_per_second"), lambda t: f"{t:,.0f}"),
        ("rows per second", train.get("train_samples_per_second"), lambda r: f"{r:,.1f}"),
        ("most memory of the process", train.get("peak_memory_mib"), lambda m: f"{m:,.0f} MiB"),
        ("most memory of the GPU", train.get("peak_gpu_memory_mib"), lambda m: f"{m:,.0f} MiB"),
        ("device", metrics["environment"].get("device"), str),
    ]
    return [(name, show(value)) for name, value, show in found if value is not None]


def _figures(
    rows: Predictions, scores: dict[str, Any], histories: list[list[dict[str, Any]]], folder: Path
) -> tuple[Drawings, list[str]]:
    """Draw what can be drawn; return the drawings by name and, in sentences, what could not be."""
    drawn = Drawings(folder)
    missing: list[str] = []
    entries = list(itertools.chain(*histories))
    if any("loss" in entry or "eval_loss" in entry for entry in entries):
        drawn.add("loss", plots.loss_curves(histories))
    for name in ("f1", "pearson"):
        if any(f"eval_{name}" in entry for entry in entries):
            drawn.add("score", plots.score_curves(histories, name, TITLES[name]))
    if rows.problem_type == REGRESSION:
        if len(rows.label_names) > MOST_TARGETS:
            missing.append(f"Of the {len(rows.label_names)} targets the first {MOST_TARGETS} are drawn.")
        for i, name in enumerate(rows.label_names[:MOST_TARGETS]):
            drawn.add(f"values_{i + 1}", plots.residuals(rows.labels[:, i], rows.probabilities[:, i], name))
        return drawn, missing
    wrong = rows.wrong
    if rows.problem_type == SINGLE_LABEL:
        missing += _draw_classes(rows, scores, drawn)
    if len(wrong) >= 2 * plots.LEAST_OF_GROUP:
        lengths = np.array([len(text.split()) for text in rows.columns[TEXT]])
        drawn.add("length", plots.error_by_length(lengths, wrong))
    return drawn, missing


def _draw_classes(rows: Predictions, scores: dict[str, Any], drawn: Drawings) -> list[str]:
    missing = []
    names, labels, p = rows.label_names, rows.labels, rows.probabilities
    absent = [name for i, name in enumerate(names) if not (labels == i).any()]
    if absent:
        missing.append(
            f"No row of these has the label {some([f'“{name}”' for name in absent])}: what needs every label, such "
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
    drawn.add("confusion", plots.confusion(np.asarray(scores["confusion_matrix"]), names))
    if len(names) == 2 and not absent:
        threshold = scores.get("threshold")
        drawn.add("precision_recall", plots.precision_recall(labels, p[:, 1], names[1], threshold))
        drawn.add("roc", plots.roc(labels, p[:, 1], names[1], threshold))
    drawn.add("reliability", plots.reliability_diagram(labels, p, scaled(p, scores["temperature"])))
    if len(names) == 2:
        drawn.add("scores", plots.score_histogram(labels, p[:, 1], names, scores.get("threshold")))
    else:
        drawn.add("scores", plots.confidence_histogram(~rows.wrong, p.max(axis=1)))
    return missing


def _per_label(rows: Predictions) -> list[dict[str, Any]]:
    if rows.problem_type == REGRESSION or (rows.problem_type == SINGLE_LABEL and len(rows.label_names) == 2):
        return []
    table: list[dict[str, Any]] = []
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


def _per_value(rows: Predictions) -> dict[str, list[dict[str, Any]]]:
    """Return the values of each column that groups the rows, those with the most wrong rows first."""
    if rows.problem_type == REGRESSION:
        return {}
    tables = {}
    wrong = rows.wrong
    for column, cells in rows.columns.items():
        if column in (TEXT, TEXT_PAIR, FOLD):
            continue
        values, which, count = np.unique(
            np.array(cells, dtype=object).astype(str), return_inverse=True, return_counts=True
        )
        usual = np.flatnonzero((count >= LEAST_ROWS) & (values != ""))
        if len(usual) < 2 or count[usual].sum() < len(cells) / 4:
            continue
        errors = np.bincount(which, wrong, minlength=len(values))
        worst = sorted(usual, key=lambda i: (-errors[i], count[i]))[:MOST_VALUES]
        shown = _decoded(values.tolist())
        tables[column] = [
            {"value": shown[i], "rows": int(count[i]), "wrong": int(errors[i]), "share": errors[i] / count[i]}
            for i in worst
        ]
    return tables


def _decoded(values: list[str]) -> list[str]:
    """Return a column's values as they were before they were encoded as in a URL (`body%20bags`), if they were."""
    encoded = re.compile(r"%[0-9A-Fa-f]{2}")
    # Whoever encodes a column encodes every blank in it, and every %.
    if any(re.search(r"\s", value) or "%" in encoded.sub("", value) for value in values):
        return values
    try:
        return [unquote(value, errors="strict") for value in values]
    except UnicodeDecodeError:
        return values


def _most_wrong(rows: Predictions) -> list[dict[str, Any]]:
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
                "text": rows.columns[TEXT][i],
                "text_pair": rows.columns[TEXT_PAIR][i] if TEXT_PAIR in rows.columns else None,
                "label": shown[i],
                "prediction": predicted[i],
                "confidence": confidence,
                "loss": float(rows.losses[i]),
            }
        )
    return out
