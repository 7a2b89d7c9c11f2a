"""The baseline that a transformer has to beat: TF-IDF of words and characters, and a linear model. It takes seconds.

    python recipes/baseline.py --config recipes/configs/quickstart.yaml
    python recipes/baseline.py --dataset my.csv --folds 5 --output_dir runs/mine

Data, splits, scores and run folder are those of the other recipes, and so are the configurations: what is about a
network in them is left alone. The model itself is not saved, since fitting it again is as quick as loading it.
"""

import time

from bert_recipes.cli.main import run_main
from bert_recipes.config.arguments import BaselineArguments
from bert_recipes.config.parsing import Arguments, parse_arguments
from bert_recipes.runs.finished import FinishedRun


def train(args: Arguments[BaselineArguments]) -> FinishedRun:
    from bert_recipes.columns import LABELS
    from bert_recipes.data.loading import load_data
    from bert_recipes.data.splits import column
    from bert_recipes.modeling.baseline import Baseline, texts_of
    from bert_recipes.runs.folds import runs

    data = load_data(args.data)

    for run in runs(args, data, data.splits, None):
        run.open()
        start = time.perf_counter()
        model = Baseline(data.task, args.training.seed, args.data.normalize)
        model.fit(texts_of(run.data.splits["train"]), column(run.data.splits["train"], LABELS))
        cost = {"train_runtime": time.perf_counter() - start}

        probabilities = {
            split: model.predict(texts_of(rows)) for split, rows in run.data.splits.items() if split != "train"
        }
        losses = model.losses(probabilities["validation"], column(run.data.splits["validation"], LABELS))
        validation = run.predictions("validation", probabilities["validation"], losses)
        run.write({"train": cost}, validation, probabilities.get("test"))
    return FinishedRun(args.training.output_dir)


def main() -> None:
    train(parse_arguments(BaselineArguments, __doc__))


if __name__ == "__main__":
    run_main(main)
