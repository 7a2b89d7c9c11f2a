"""What is each pooling and each loss worth? Run them all with some seeds on one split, and put them into a table.

    python -m benchmarks.choices                  data/disaster-tweets, the embedded model
    python -m benchmarks.choices --seeds 1 2 3 4 5 --num_train_epochs 3 --jobs 6     on a GPU
    python -m benchmarks.choices --write_docs     put the table into docs/customising.md and into the tour too

Other flags go to the recipes. A finished run is not made again, and an interrupted one is resumed. Weights and
checkpoints of finished runs are removed, since only their scores are wanted.
"""

import json
import statistics
from pathlib import Path

from benchmarks.customising import by_name, parse_arguments, run_recipe, write_table
from bert_recipes.cli.main import run_main
from bert_recipes.reporting.documents import markdown_table

SEEDS = (1, 2, 3)
# Half an epoch: enough to see differences of a point or two, and an evening's work for the lot on two cores.
FLAGS = ["--config", "recipes/configs/disaster_tweets.yaml", "--model", "embedded:minilm", "--learning_rate", "1e-4"]
FLAGS += ["--num_train_epochs", "0.5"]
CHOICES = {
    "stock": [],
    "cls": ["--pooling", "cls"],
    "mean": ["--pooling", "mean"],
    "max": ["--pooling", "max"],
    "mean_max": ["--pooling", "mean_max"],
    "attention": ["--pooling", "attention"],
    "cls_last4": ["--pooling", "cls_last4"],
    "layer_mix": ["--pooling", "layer_mix"],
    "focal": ["--loss", "focal"],
    "balanced": ["--class_weights", "balanced"],
    "r_drop": ["--loss", "r_drop"],
}
HEADER = ("choice", "flags", "validation F1", "over the seeds", "against stock, points", "accuracy")


def metrics_of(name: str, seed: int, folder: Path, more: list[str], choices: dict[str, list[str]] = CHOICES) -> dict:
    """Return the metrics of one run, made now unless it is there.

    Args:
        name: of a choice.
        seed: of the training.
        folder: where the runs go.
        more: flags beside those of the choice.
        choices: the flags of each.

    Raises:
        UserError: the run failed.
    """
    run = folder / f"{name}-seed-{seed}"
    own = ["--seed", seed, "--output_dir", run]
    run_recipe("stock.py" if name == "stock" else "custom.py", run, [*FLAGS, *choices[name], *own, *more])
    return json.loads((run / "metrics.json").read_text(encoding="utf-8"))


def rows_of(runs: dict[str, list[dict]], choices: dict[str, list[str]] = CHOICES) -> list[list[str]]:
    """Return the table's rows, one for each choice: means over the seeds, the best and the worst, and the mean and
    standard deviation of the differences from the runs of the first choice with the same seeds.
    """
    first = next(iter(choices))
    scores = {name: [run["validation"] for run in of_seeds] for name, of_seeds in runs.items()}
    rows = []
    for name, of_seeds in scores.items():
        f1 = [score["f1"] for score in of_seeds]
        apart = [100 * (score - base["f1"]) for score, base in zip(f1, scores[first], strict=True)]
        rows.append(
            [
                name,
                f"`{' '.join(choices[name])}`" if choices[name] else "",
                f"{statistics.mean(f1):.4f}",
                f"{min(f1):.4f} to {max(f1):.4f}",
                "" if name == first else f"{statistics.mean(apart):+.1f} ± {statistics.stdev(apart):.1f}",
                f"{statistics.mean(score['accuracy'] for score in of_seeds):.4f}",
            ]
        )
    return rows


def table(runs: dict[str, list[dict]]) -> str:
    """Return the table in Markdown."""
    return markdown_table(HEADER, rows_of(runs), "llrrrr")


def main():
    args, more = parse_arguments(__doc__, "runs/choices", SEEDS)
    runs = by_name(CHOICES, args, lambda name, seed: metrics_of(name, seed, args.output_dir, more))
    print(table(runs))
    if args.write_docs:
        from bert_recipes.anatomy.measured import record

        write_table("choices", table(runs))
        record("choices", HEADER, rows_of(runs))


if __name__ == "__main__":
    run_main(main)
