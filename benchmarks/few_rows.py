"""What is to be had from 8 to 64 labelled rows of each class? The recipes and SetFit on the same rows, into a table.

    python -m benchmarks.few_rows --setfit_python /tmp/setfit/bin/python
    python -m benchmarks.few_rows --datasets fine-foods --sizes 8 16 --methods baseline few_rows
    python -m benchmarks.few_rows --write_draws runs/few-rows/draws     only the rows, for benchmarks/setfit_draw.py
    python -m benchmarks.few_rows --write_docs                          put the table into docs/customising.md too

Each draw has so many rows of each class, the smaller ones among those of the larger; the rows that score are the same
for all: 500 of the food reviews' test split, and 500 articles of the news. SetFit is taken from an environment of its
own (`pip install setfit`), or from results that are there. A result that is there is not made again.
"""

import math
import shutil
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.customising import ROOT, make_parser, write_table
from bert_recipes.cli.main import run_main
from bert_recipes.errors import UserError
from bert_recipes.files import read_json, write_json
from bert_recipes.reporting.documents import markdown_table

if TYPE_CHECKING:
    import pandas as pd

CONFIGS = ROOT / "recipes/configs"
# The recipe of each method and the configuration it takes; SetFit is no recipe.
METHODS = {
    "baseline": ("baseline", None),
    "quickstart": ("stock", CONFIGS / "quickstart.yaml"),
    "few_rows": ("custom", CONFIGS / "few_rows.yaml"),
}
SETFIT = "setfit"
DATASETS = ("fine-foods", "bbc-news")
SIZES = (8, 16, 32, 64)
DRAWS = 10
MODEL = "embedded:minilm"
# Of a text, for all that read tokens.
MAX_LENGTH = 128
# The results of each method by draw.
Results = Mapping[str, Mapping[int, dict]]
# Rows that score, of the test split where there is one; as many others are those by which few_rows.yaml was chosen.
HELD_OUT = 500


@dataclass
class Rows:
    """The rows of one data set, `text` and `label`: those that are drawn from, and those that score."""

    name: str
    pool: "pd.DataFrame"
    test: "pd.DataFrame"

    @classmethod
    def of(cls, name: str, choosing: bool = False) -> "Rows":
        """Return the rows of an embedded data set, of each text one.

        Args:
            name: of the data set.
            choosing: whether settings are to be chosen, so that rows score which no reported draw has to do with.
        """
        from bert_recipes.data.embedded import PREFIX, read_dataset

        splits = read_dataset(PREFIX + name)
        train = splits["train"].drop_duplicates("text").sample(frac=1, random_state=0)
        if "test" in splits:
            test = splits["test"].sample(HELD_OUT, random_state=0)
            train = train[~train["text"].isin(splits["test"]["text"])]
        else:
            test, train = train[:HELD_OUT], train[HELD_OUT:]
        chooses, pool = train[:HELD_OUT], train[HELD_OUT:]
        columns = ["text", "label"]
        scoring = chooses if choosing else test
        return cls(name, pool[columns].reset_index(drop=True), scoring[columns].reset_index(drop=True))

    def draw(self, size: int, draw: int) -> list[int]:
        """Return which rows of the pool a draw takes, `size` of each class in an order of their own."""
        order = np.random.default_rng(draw).permutation(len(self.pool))
        labels = self.pool["label"].to_numpy()[order]
        drawn = np.concatenate([order[labels == label][:size] for label in sorted(set(labels))])
        return [int(row) for row in np.random.default_rng([draw, size]).permutation(drawn)]


def write_draws(rows: Rows, sizes: Sequence[int], draws: Sequence[int], folder: Path) -> Path:
    """Write what `benchmarks/setfit_draw.py` reads, and return the file."""
    drawn = {(size, draw): rows.draw(size, draw) for size in sizes for draw in draws}
    used = sorted({row for places in drawn.values() for row in places})
    place = {row: i for i, row in enumerate(used)}
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{rows.name}.json"
    content = {
        "dataset": rows.name,
        "max_length": MAX_LENGTH,
        "train": rows.pool.iloc[used].to_dict("list"),
        "test": rows.test.to_dict("list"),
        "draws": [
            {"size": size, "draw": draw, "rows": [place[row] for row in places]}
            for (size, draw), places in drawn.items()
        ],
    }
    write_json(file, content)
    return file


def result_file(folder: Path, dataset: str, size: int, draw: int, method: str) -> Path:
    """Return where a result is."""
    return folder / f"{dataset}-{size}-{draw}-{method}.json"


def measure(rows: Rows, size: int, draw: int, method: str, folder: Path, **flags: Any) -> None:
    """Train by one method on one draw and write its scores, unless they are there.

    Args:
        rows: of the data set.
        size: rows of each class.
        draw: its number, which is the training's seed too.
        method: of `METHODS`.
        folder: where the results go.
        flags: of the recipe, beside those of the method.
    """
    import torch

    import bert_recipes as br

    file = result_file(folder, rows.name, size, draw, method)
    if file.is_file():
        return
    recipe, config = METHODS[method]
    own: dict[str, Any] = {} if recipe == "baseline" else {"model": MODEL, "max_length": MAX_LENGTH}
    split = "test"
    if method == "few_rows":
        # Its model is that of all rows, and its folds only say how good that is, which the rows that score do here.
        own |= {"folds": None, "refit": False}
        split = "validation"
    run = file.with_suffix("")
    shutil.rmtree(run, ignore_errors=True)
    data = {"train": rows.pool.iloc[rows.draw(size, draw)], split: rows.test}
    start = time.perf_counter()
    finished = br.train(recipe, config=config, dataset=data, output_dir=run, seed=draw, **own | flags)
    seconds = time.perf_counter() - start
    scores = finished.metrics[split]
    found = {
        "dataset": rows.name,
        "size": size,
        "draw": draw,
        "method": method,
        "accuracy": scores["accuracy"],
        "macro_f1": scores["f1_macro"],
        "seconds": seconds,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }
    shutil.rmtree(run)
    write_json(file, found)
    print(f"{file.name}: {found['accuracy']:.3f} in {seconds:.0f} s", flush=True)


def measure_setfit(python: Path, draws: Path, folder: Path, shard: str = "1/1") -> None:
    """Train SetFit on the `shard` of written draws with the Python of its own environment.

    Raises:
        UserError: it failed.
    """
    from bert_recipes.data.embedded import model_path
    from bert_recipes.devices import half_precision

    script = ROOT / "benchmarks/setfit_draw.py"
    command = [python, script, "--rows", draws, "--model", model_path(MODEL), "--output", folder, "--shard", shard]
    if half_precision() == "bf16":
        command.append("--bf16")  # as the recipes
    status = subprocess.run([str(word) for word in command]).returncode
    if status:
        raise UserError(f"SetFit ended with status {status}: fix what it says and start again.")


def read_results(folder: Path, dataset: str, size: int, draws: Sequence[int]) -> dict[str, dict[int, dict]]:
    """Return the results of each method that has some, by draw."""
    found: dict[str, dict[int, dict]] = {}
    for method in (*METHODS, SETFIT):
        for draw in draws:
            file = result_file(folder, dataset, size, draw, method)
            if file.is_file():
                found.setdefault(method, {})[draw] = read_json(file)
    return found


def mean_and_half(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of some values and half of its 95 % interval by Student's t."""
    from scipy.stats import t

    if len(values) < 2:
        return statistics.mean(values), math.nan
    error = statistics.stdev(values) / len(values) ** 0.5
    return statistics.mean(values), float(t.ppf(0.975, len(values) - 1)) * error


def shown(values: Sequence[float], form: str, draws: int) -> str:
    """Return a mean and half of its interval as text, with the number of draws where that is less than `draws`."""
    mean, half = mean_and_half(values)
    text = f"{mean:{form}}" + (f" ± {half:{form.lstrip('+')}}" if len(values) > 1 else "")
    return text if len(values) == draws else f"{text} ({len(values)})"


def rows_of(dataset: str, size: int, results: Results, draws: int) -> list[list[str]]:
    """Return the table's rows for one data set and size: each method's scores, and few_rows less SetFit by draw."""
    own, other = (results.get(method, {}) for method in ("few_rows", SETFIT))
    rows = []
    for score, title in (("accuracy", "accuracy"), ("macro_f1", "macro F1")):
        row = [dataset, str(size), title]
        for method in (*METHODS, SETFIT):
            values = [result[score] for result in results.get(method, {}).values()]
            row.append(shown(values, ".3f", draws) if values else "")
        apart = [100 * (own[draw][score] - other[draw][score]) for draw in own if draw in other]
        rows.append([*row, shown(apart, "+.1f", draws) if apart else ""])
    seconds = []
    for method in (*METHODS, SETFIT):
        values = [result["seconds"] for result in results.get(method, {}).values()]
        seconds.append(f"{statistics.mean(values):.0f}" if values else "")
    return [*rows, [dataset, str(size), "seconds", *seconds, ""]]


HEADER = ("data", "rows of each class", "", "`baseline`", "`quickstart`", "`few_rows`", "SetFit", "few_rows - SetFit")


def table(results: Mapping[tuple[str, int], Results], draws: int = DRAWS) -> str:
    """Return the table in Markdown.

    Args:
        results: of `read_results`, by data set and size.
        draws: how many there should be.
    """
    rows = [row for (dataset, size), found in results.items() for row in rows_of(dataset, size, found, draws)]
    return markdown_table(HEADER, rows, "lrlrrrrr")


def main():
    parser = make_parser(__doc__, "runs/few-rows")
    parser.add_argument("--datasets", nargs="+", choices=DATASETS, default=DATASETS, help="of the embedded ones")
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES, help="rows of each class")
    parser.add_argument("--draws", nargs="+", type=int, default=range(DRAWS), help="which draws, by number")
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=METHODS, help="which recipes are run")
    parser.add_argument("--setfit_python", type=Path, help="the Python of an environment that has SetFit")
    parser.add_argument("--write_draws", type=Path, help="a folder: write the rows there for setfit_draw.py, no more")
    parser.add_argument("--choosing", action="store_true", help="score on rows of train, to choose settings by them")
    parser.add_argument("--shard", default="1/1", help="i/n: the i-th of n processes that share the draws; no table")
    args = parser.parse_args()
    first, of = (int(number) for number in args.shard.split("/"))
    if args.write_docs and (args.write_draws or args.choosing or of > 1):
        parser.error("--write_docs is of the reported draws, all of them in one process")
    folder = args.output_dir / "choosing" if args.choosing else args.output_dir
    results = {}
    for dataset in args.datasets:
        rows = Rows.of(dataset, args.choosing)
        if args.write_draws:
            print(write_draws(rows, args.sizes, args.draws, args.write_draws))
            continue
        each = [(size, draw, method) for size in args.sizes for draw in args.draws for method in args.methods]
        for size, draw, method in each[first - 1 :: of]:
            measure(rows, size, draw, method, folder)
        if args.setfit_python:
            draws = write_draws(rows, args.sizes, args.draws, folder / "draws")
            measure_setfit(args.setfit_python, draws, folder, args.shard)
        for size in args.sizes:
            results[dataset, size] = read_results(folder, dataset, size, args.draws)
    if results and of == 1:
        text = table(results, len(args.draws))
        print(text)
        if args.write_docs:
            write_table("few-rows", text)


if __name__ == "__main__":
    run_main(main)
