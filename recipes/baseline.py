"""The baseline that a transformer has to beat: TF-IDF of words and characters, and a linear model. It takes seconds.

    python recipes/baseline.py --config recipes/configs/quickstart.yaml
    python recipes/baseline.py --dataset my.csv --folds 5 --output_dir runs/mine

Data, splits, scores and run folder are those of the other recipes, and so are the configurations: what is about a
network in them is left alone. The model itself is not saved, since fitting it again is as quick as loading it.
"""

import time

from bert_recipes.arguments import BaselineArguments, parse_arguments
from bert_recipes.errors import run_main


def main():
    args = parse_arguments(BaselineArguments, __doc__, "baseline")
    # Here, not above: they take seconds, and --help and a wrong flag need none of them.
    from bert_recipes.baseline import Baseline, texts_of
    from bert_recipes.data import LABELS, column, load_data
    from bert_recipes.folds import runs

    data = load_data(args.data)

    for run in runs(args, data, data.splits, None):
        run.open()
        start = time.perf_counter()
        model = Baseline(data.labels, args.training.seed)
        model.fit(texts_of(run.data.splits["train"]), column(run.data.splits["train"], LABELS))
        train = {"train_runtime": time.perf_counter() - start}

        probabilities = {
            split: model.predict(texts_of(rows)) for split, rows in run.data.splits.items() if split != "train"
        }
        losses = model.losses(probabilities["validation"], column(run.data.splits["validation"], LABELS))
        validation = run.predictions("validation", probabilities["validation"], losses)
        run.write({"train": train}, validation, probabilities.get("test"))


if __name__ == "__main__":
    run_main(main)
