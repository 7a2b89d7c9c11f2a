"""Does an audit find labels that were made wrong on purpose? Its ranking beside cleanlab's, into a table.

    python -m benchmarks.label_errors --cleanlab_python /tmp/cleanlab/bin/python
    python -m benchmarks.label_errors --datasets fine-foods --shares 0.05 --with_recipe
    python -m benchmarks.label_errors --write_docs          put the table into docs/data.md too

In each draw a share of the labels is changed: at random, each to any other label, or by class, all of one label to one
other. The audit's own models predict every row out of fold, and each ranking of the rows is scored by the average
precision with which it finds the changed ones, by its precision down to as many rows as were changed, and by its
recall down to twice as many. Labels that were wrong before count against every ranking. `fitted once` is what the
audit would be if its baseline were not fitted again without the labels that it finds likely wrong. cleanlab, which is
AGPL and so no dependency, is taken from an environment of its own (`pip install cleanlab`) and ranks by the audit's
probabilities. A result that is there is not made again, unless it lacks cleanlab's rankings and they are asked for.

Of the tweets there is one line more, of labels that nobody changed: how well those are found that both readings of
benchmarks/disputed.py are against, among the rows that were read.
"""

import argparse
import itertools
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.customising import ROOT
from benchmarks.disputed import read_readings
from bert_recipes.cli.main import run_main
from bert_recipes.cli.parser import ScriptParser
from bert_recipes.config.arguments import AuditArguments
from bert_recipes.config.parsing import make_arguments
from bert_recipes.errors import UserError
from bert_recipes.files import read_json, write_json
from bert_recipes.reporting.documents import markdown_table, put_between_marks

if TYPE_CHECKING:
    import pandas as pd

DOCUMENT = ROOT / "docs/data.md"
TWEETS = "data/disaster-tweets"
DATASETS = ("fine-foods", "bbc-news", TWEETS)
KINDS = {"random": "at random", "class": "by class"}
READ = "read"
SHARES = (0.02, 0.05, 0.1)
DRAWS = 3
# The ranking of audit.csv, and what it would be if the baseline were not fitted again without what is likely wrong.
OURS, ONE_FIT = "audit", "fitted once"
MEASURES = ("average precision", "precision", "recall")
HEADER = ("data", "changed", *(f"{what}, {who}" for what in MEASURES for who in (OURS, ONE_FIT, "cleanlab")))
# By ranking, each measure.
Scores = dict[str, dict[str, float]]


def rows_of(name: str) -> "pd.DataFrame":
    """Return the training rows of a data set, `text` and `label`; all that have one text go but the first.

    Those of the tweets have their `id` too.
    """
    import pandas as pd

    from bert_recipes.columns import ID, LABELS, TEXT
    from bert_recipes.config.arguments import DataArguments
    from bert_recipes.data.embedded import PREFIX, read_dataset
    from bert_recipes.data.loading import load_uncut
    from bert_recipes.data.splits import column
    from bert_recipes.evaluation.decoding import label_texts_of

    if (ROOT / name).exists():
        data = load_uncut(DataArguments(dataset=[str(ROOT / name)], text_column=["text"], label_column=["target"]))
        train, task = data.splits["train"], data.task
        labels = label_texts_of(column(train, LABELS), task.label_names, task.problem_type)
        frame = pd.DataFrame({"text": train[TEXT][:], "label": labels, "id": train[ID][:]})
    else:
        frame = read_dataset(PREFIX + name)["train"][["text", "label"]]
    return frame.drop_duplicates("text").reset_index(drop=True)


def change(labels: np.ndarray, share: float, kind: str, draw: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of which some were changed, and which, both `[rows]`.

    Args:
        labels: `[rows]`.
        share: how many of all are changed.
        kind: `random` or `class`.
        draw: the seed.
    """
    rng = np.random.default_rng(draw)
    names = np.unique(labels)
    count = round(share * len(labels))
    changed, is_changed = labels.copy(), np.zeros(len(labels), dtype=bool)
    if kind == "class":
        source, target = rng.choice(names, 2, replace=False)
        rows = rng.permutation(np.flatnonzero(labels == source))[:count]
        changed[rows] = target
    else:
        rows = rng.permutation(len(labels))[:count]
        changed[rows] = [rng.choice(names[names != labels[row]]) for row in rows]
    is_changed[rows] = True
    return changed, is_changed


def read_rows(frame: "pd.DataFrame") -> tuple[np.ndarray, np.ndarray]:
    """Return which rows of the tweets were read, and whether both readings are against their label, both `[rows]`."""
    said = read_readings()
    is_read = frame["id"].isin(said).to_numpy()
    pairs = zip(frame["id"], frame["label"], strict=True)
    return is_read, np.array([name in said and label not in said[name] for name, label in pairs])


def predicted(frame: "pd.DataFrame", labels: np.ndarray, folder: Path, with_recipe: bool) -> list[np.ndarray]:
    """Return what each of the audit's models gives, `[repeats, rows, num_labels]`, and the labels' ids last."""
    from bert_recipes.data.loading import load_uncut
    from bert_recipes.runs.audit import Audit

    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "rows.csv"
    frame[["text"]].assign(label=labels).to_csv(file, index_label="id")
    values = {"dataset": str(file), "text_column": "text", "label_column": "label", "quick": not with_recipe}
    values |= {"output_dir": str(folder / "audit"), "max_length": 96, "text_pair_column": None, "id_column": "id"}
    args = make_arguments(AuditArguments, values, ROOT / "recipes/configs/quickstart.yaml")
    audit = Audit(args, load_uncut(args.data))
    return [*(asked["train"] for asked in audit.ask()), audit.labels["train"]]


def rankings(labels: np.ndarray, models: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return how suspicious each row is by each ranking, `[rows]`.

    Args:
        labels: class ids, `[rows]`.
        models: what each gives, `[repeats, rows, num_labels]`; of the first, the baseline, both fits.
    """
    baseline, *others = models
    once = [baseline[: len(baseline) // 2], *others]
    return {name: _scores(labels, asked) for name, asked in ((OURS, models), (ONE_FIT, once))}


def _scores(labels: np.ndarray, models: Sequence[np.ndarray]) -> np.ndarray:
    from bert_recipes.evaluation.audit import audit_labels

    weights = [1 / len(model) for model in models for _ in model]
    return audit_labels(labels, np.concatenate(models), weights).scores


def cleanlab_rankings(python: str, labels: np.ndarray, models: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return how suspicious each row is by each of cleanlab's rankings, `[rows]`.

    Raises:
        UserError: cleanlab could not be run.
    """
    mean = np.mean([model.mean(axis=0) for model in models], axis=0)
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "given.npz"), Path(folder, "found.npz")
        np.savez(given, labels=labels, probabilities=mean)
        script = ROOT / "benchmarks/cleanlab_scores.py"
        if subprocess.run([python, str(script), str(given), str(found)]).returncode:
            raise UserError(
                f"--cleanlab_python {python} could not run cleanlab: install it there, 'pip install cleanlab'."
            )
        return {f"cleanlab {name}": 1 - scores for name, scores in np.load(found).items()}


def score(suspicion: np.ndarray, changed: np.ndarray) -> dict[str, float]:
    """Return how well a ranking finds the changed rows; ties stand in the rows' order."""
    from sklearn.metrics import average_precision_score

    order, count = np.argsort(-suspicion, kind="stable"), int(changed.sum())
    found = average_precision_score(changed, suspicion), changed[order[:count]].mean()
    return dict(zip(MEASURES, map(float, (*found, changed[order[: 2 * count]].sum() / count)), strict=True))


def is_measured(file: Path, with_cleanlab: bool) -> bool:
    """Whether a result is there, with cleanlab's rankings where they are asked for."""
    if not file.is_file():
        return False
    return not with_cleanlab or any(ranking.startswith("cleanlab") for ranking in read_json(file))


def table(results: Mapping[tuple[str, str, float], Sequence[Scores]]) -> str:
    """Return the table in Markdown: the mean over the draws of the audit's ranking and of cleanlab's best."""
    lines = []
    for (name, kind, share), draws in results.items():
        means = {
            ranking: {what: statistics.mean(draw[ranking][what] for draw in draws) for what in MEASURES}
            for ranking in draws[0]
        }
        theirs = [means[ranking] for ranking in means if ranking.startswith("cleanlab")]
        cells = []
        for what in MEASURES:
            cells += [f"{means[name][what]:.3f}" for name in (OURS, ONE_FIT)]
            cells.append(f"{max(their[what] for their in theirs):.3f}" if theirs else "")
        how = "none; 300 were read" if kind == READ else f"{share:.0%}, {KINDS[kind]}"
        lines.append([Path(name).name, how, *cells])
    return markdown_table(HEADER, lines, "llrrrrrrrrr")


def _measured(
    args: argparse.Namespace, name: str, frame: "pd.DataFrame", kind: str, share: float, draw: int
) -> Scores:
    case = f"{Path(name).name}-{kind}-{share}-{draw}{'-recipe' if args.with_recipe else ''}"
    file = args.output_dir / f"{case}.json"
    if not is_measured(file, bool(args.cleanlab_python)):
        labels, scored = frame["label"].to_numpy(), np.ones(len(frame), dtype=bool)
        if kind == READ:
            scored, wrong = read_rows(frame)
        else:
            labels, wrong = change(labels, share, kind, draw)
        *models, ids = predicted(frame, labels, args.output_dir / case, args.with_recipe)
        found = rankings(ids, models)
        if args.cleanlab_python:
            found |= cleanlab_rankings(args.cleanlab_python, ids, models)
        write_json(file, {ranking: score(values[scored], wrong[scored]) for ranking, values in found.items()})
    return read_json(file)


def main():
    parser = ScriptParser(__doc__)
    parser.add_argument("--datasets", nargs="+", default=DATASETS, help="embedded ones, or the tweets' folder")
    parser.add_argument("--shares", nargs="+", type=float, default=SHARES, help="of the labels, which are changed")
    parser.add_argument("--draws", type=int, default=DRAWS, help="of the changed labels")
    parser.add_argument("--with_recipe", action="store_true", help="ask the custom recipe too, as an audit does")
    parser.add_argument("--cleanlab_python", help="a Python that has cleanlab")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/label-errors"), help="where the results go")
    parser.add_argument("--write_docs", action="store_true", help="put the table into docs/data.md")
    args = parser.parse_args()
    results: dict[tuple[str, str, float], list[Scores]] = {}
    for name in args.datasets:
        frame = rows_of(name)
        for kind, share in [*itertools.product(KINDS, args.shares), *([(READ, 0.0)] if "id" in frame else [])]:
            results[name, kind, share] = [
                _measured(args, name, frame, kind, share, draw) for draw in range(1 if kind == READ else args.draws)
            ]
    print(table(results))
    if args.write_docs:
        put_between_marks(DOCUMENT, "label-errors", table(results))


if __name__ == "__main__":
    run_main(main)
