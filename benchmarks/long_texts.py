"""What is it worth to read more of a long text? Each `--long_texts` on news articles and reviews, into a table.

    python -m benchmarks.long_texts                  embedded:bbc-news and embedded:fine-foods, the stock recipe
    python -m benchmarks.long_texts --write_docs     put the table into docs/customising.md and its twin too

Other flags go to the recipe, as `--num_train_epochs 3`. All runs of a data set have one seed, one split and the same
steps; nothing is chosen on the rows that score them. A finished run is not made again, and an interrupted one
begins anew. Weights of finished runs are removed, since only their scores are wanted.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.customising import ROOT, make_parser, run_recipe, write_table
from bert_recipes.cli.main import run_main
from bert_recipes.columns import LABELS
from bert_recipes.config.arguments import DataArguments
from bert_recipes.config.reading import LONG_TEXTS
from bert_recipes.config.saved import saved_configuration
from bert_recipes.reporting.documents import markdown_table

if TYPE_CHECKING:
    from bert_recipes.evaluation.significance import Score

# Half of the articles is held out, since 222 of them would tell nothing apart. Micro-batches are small for the sake of
# the windows' memory; the step is that of the configuration, and the same for all.
CONFIGS = {
    "bbc_news": ["--validation_size", "0.5", "--num_train_epochs", "2"],
    "quickstart": ["--num_train_epochs", "1"],
}
FLAGS = ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "8", "--eval_strategy", "no"]
FLAGS += ["--save_strategy", "no", "--load_best_model_at_end", "false", "--seed", "1"]
HEADER = ("data", "`--long_texts`", "rows", "accuracy", "95 %", "against head, points", "95 %", "training", "memory")


@dataclass
class Measured:
    """A finished run: the labels and predictions of the rows that score it, `[rows]`, and what metrics.json holds."""

    labels: np.ndarray
    predictions: np.ndarray
    metrics: dict

    @classmethod
    def of(cls, run: Path) -> "Measured":
        """Return what a run folder holds; its rows are those of test or, without labels there, of validation."""
        from bert_recipes.data.loading import load_data
        from bert_recipes.data.splits import column
        from bert_recipes.evaluation.prediction_files import Predictions, read_probabilities

        metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        names, problem_type = (metrics["environment"]["labels"][key] for key in ("names", "problem_type"))
        if "test" not in metrics:
            found = Predictions.read(run, names, problem_type)
            return cls(found.labels, found.predicted, metrics)
        configuration = saved_configuration(run)
        keys = ("dataset", "text_column", "label_column", "labels")
        test = load_data(DataArguments(**{key: configuration[key] for key in keys})).splits["test"]
        return cls(column(test, LABELS), read_probabilities(run, names, problem_type).argmax(axis=1), metrics)


def make_run(config: str, mode: str, folder: Path, more: list[str]) -> Path:
    """Return the folder of one run, made now unless it is there.

    Raises:
        UserError: the run failed.
    """
    run = folder / f"{config}-{mode}"
    own = ["--config", ROOT / f"recipes/configs/{config}.yaml", *FLAGS, *CONFIGS[config], "--long_texts", mode]
    run_recipe("stock.py", run, [*own, "--output_dir", run, *more])
    return run


def interval(score: "Score", measured: Measured, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of a run's score over resamples of its rows."""
    from bert_recipes.evaluation.significance import RESAMPLES

    patterns, count = np.unique(score.terms(measured.labels, measured.predictions), axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(count.sum(), count / count.sum(), size=RESAMPLES)
    low, high = np.quantile(score.of_sums(drawn.astype(float) @ patterns), [0.025, 0.975])
    return float(low), float(high)


def rows_of(config: str, runs: dict[str, Measured]) -> list[list[str]]:
    """Return the table's rows for one data set, each mode beside `head` on the same rows."""
    from bert_recipes.evaluation.significance import accuracy, compare

    score, head = accuracy(), runs["head"]
    rows = []
    for mode, run in runs.items():
        both = (run.predictions, head.predictions)
        apart = compare(score, run.labels, run.predictions[None], head.predictions[None], both)
        low, high = interval(score, run)
        cost = run.metrics["train"]
        against = [f"{100 * apart.value:+.1f}", f"{100 * apart.low:+.1f} to {100 * apart.high:+.1f}"]
        rows.append(
            [
                config,
                f"`{mode}`",
                f"{len(run.labels):,}",
                f"{apart.a[0]:.4f}",
                f"{low:.3f} to {high:.3f}",
                *(["", ""] if mode == "head" else against),
                f"{cost['train_runtime']:.0f} s",
                f"{cost['peak_memory_mib'] / 1024:.1f} GiB",
            ]
        )
    return rows


def table(runs: dict[str, dict[str, Measured]]) -> str:
    """Return the table in Markdown."""
    rows = [row for config, of_modes in runs.items() for row in rows_of(config, of_modes)]
    return markdown_table(HEADER, rows, "llrrrrrrr")


def main():
    args, more = make_parser(__doc__, "runs/long-texts").parse_known_args()
    runs = {
        config: {mode: Measured.of(make_run(config, mode, args.output_dir, more)) for mode in LONG_TEXTS}
        for config in CONFIGS
    }
    print(table(runs))
    if args.write_docs:
        write_table("long-texts", table(runs))


if __name__ == "__main__":
    run_main(main)
