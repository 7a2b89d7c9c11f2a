"""The page of a comparison: `report.html` and the figures under `plots/`."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from bert_recipes.columns import FOLD, TEXT
from bert_recipes.config.saved import saved_configuration
from bert_recipes.files import writing
from bert_recipes.reporting import comparison_plots
from bert_recipes.reporting.pages import PAGE, Drawings, environment, is_chosen_there
from bert_recipes.reporting.verdicts import Group, Verdict, ends_of, scores_for, scores_of
from bert_recipes.task import REGRESSION

MOST_DISAGREEMENTS = 8


def write_comparison(folder: Path, groups: list[Group], verdicts: list[Verdict], command: str, note: str = "") -> None:
    """Write `report.html` and `plots/` of a comparison into its folder.

    Args:
        folder: of the comparison.
        groups: of runs, as `bert_recipes.runs.comparison.finished` returns them.
        verdicts: for every pair of them.
        command: that repeats it.
        note: what should be known of the rows.
    """
    rows = groups[0].predictions[0]
    titles = list(scores_for(rows))
    first, ends = titles[0], ends_of(rows)
    by_group = {group.name: {title: scores_of(group, title) for title in titles} for group in groups}
    seconds = {g.name: float(np.mean([m["train"].get("train_runtime", np.nan) for m in g.metrics])) for g in groups}
    drawn = Drawings(folder)
    drawn.add("seeds", comparison_plots.seeds_as_dots({n: of[first] for n, of in by_group.items()}, first, ends))
    drawn.add("differences", comparison_plots.differences([v.findings[first] for v in verdicts], first))
    if all(s > 0 for s in seconds.values()):
        means = {n: of[first].mean() for n, of in by_group.items()}
        drawn.add("cost", comparison_plots.cost_and_score(seconds, means, first, ends))
    page = environment.get_template("comparison.html").render(
        title=_either([group.name for group in groups]) + "?",
        data=", ".join(saved_configuration(groups[0].folders[0])["dataset"]),
        rows=len(rows.ids),
        note=note,
        out_of_fold=FOLD in rows.columns,
        choosing=[g.name for g in groups if any(is_chosen_there(saved_configuration(f)) for f in g.folders)],
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
        command=command,
        versions=groups[0].metrics[0]["environment"]["versions"],
    )
    with writing(folder / PAGE) as file:
        file.write(page)


def _either(names: list[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]])


def _spread(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


def _disagreements(groups: list[Group]) -> list[dict[str, Any]]:
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
                        "text": rows.columns[TEXT][i],
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
