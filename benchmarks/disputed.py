"""Which of a model's errors are labels that readers dispute? Out-of-fold errors beside two blind readings, as a table.

    python -m benchmarks.disputed --write_sample sample.csv     texts to be read, without label and prediction
    python -m benchmarks.disputed                               the table of those that were read

The sample is of a run with folds on the competition's tweets: rows that it has wrong and rows that it has right, in
one random order. benchmarks/readings.csv holds what two readers said of each, `reader_1` and `reader_2`. Both were a
language model under the competition's definition, 1 for a real disaster, with the text alone before it; neither saw
the label, a prediction, or what the other said.
"""

import csv
from pathlib import Path

import numpy as np

from benchmarks.customising import ROOT
from bert_recipes.cli.main import run_main
from bert_recipes.cli.parser import ScriptParser
from bert_recipes.evaluation.prediction_files import Predictions
from bert_recipes.files import writing
from bert_recipes.reporting.documents import markdown_table, put_between_marks
from bert_recipes.runs.comparison import read_group

READINGS = ROOT / "benchmarks/readings.csv"
READERS = ("reader_1", "reader_2")
DOCUMENT = ROOT / "docs/comparing.md"
WRONG, RIGHT = 200, 100
HEADER = ("the model", "read", "both agree with the label", "one does", "neither does", "neither, of all rows")


def read_readings() -> dict[str, tuple[str, ...]]:
    """Return what was said of each row that was read, one label by each reader, by id."""
    with READINGS.open(encoding="utf-8", newline="") as file:
        return {row["id"]: tuple(row[reader] for reader in READERS) for row in csv.DictReader(file)}


def sample(rows: Predictions, seed: int = 0) -> list[int]:
    """Return which of some predictions are to be read, `WRONG` wrong and `RIGHT` right ones, in random order."""
    rng = np.random.default_rng(seed)
    drawn = [
        rng.choice(np.flatnonzero(rows.wrong == is_wrong), count, replace=False)
        for is_wrong, count in ((True, WRONG), (False, RIGHT))
    ]
    return rng.permutation(np.concatenate(drawn)).tolist()


def table(wrong: np.ndarray, labels: np.ndarray, readings: np.ndarray, accuracy: float) -> str:
    """Return the table in Markdown, and in a sentence how often each reader agrees with the labels of all rows.

    Args:
        wrong: whether the model has a row wrong that was read, `[rows]`.
        labels: as the data have them, `[rows]`.
        readings: what each reader said, `[rows, readers]`.
        accuracy: of the model on all rows, those that were not read too.
    """
    agrees = readings == labels[:, None]
    agree, of_all, lines = agrees.sum(axis=1), np.zeros(readings.shape[1]), []
    for title, those, share in (("has it wrong", wrong, 1 - accuracy), ("has it right", ~wrong, accuracy)):
        shares = [float((agree[those] == count).mean()) for count in (2, 1, 0)]
        lines.append([title, str(those.sum()), *(f"{part:.1%}" for part in shares), f"{share * shares[-1]:.1%}"])
        of_all += share * agrees[those].mean(axis=0)
    readers = " and ".join(f"{share:.3f}" for share in of_all)
    said = f"Accuracy by the labels: readers {readers}, the model {accuracy:.3f}."
    return f"{markdown_table(HEADER, lines, 'lrrrrr').rstrip()}\n\n{said}"


def main():
    parser = ScriptParser(__doc__)
    parser.add_argument("--run", type=Path, default=Path("runs/kaggle"), help="with folds, on the tweets")
    parser.add_argument("--write_sample", type=Path, help="a file: write what is to be read there, no more")
    parser.add_argument("--write_docs", action="store_true", help="put the table into docs/comparing.md")
    args = parser.parse_args()
    (rows,) = read_group(str(args.run), [args.run]).predictions
    if args.write_sample:
        with writing(args.write_sample) as file:
            out = csv.writer(file)
            out.writerow(("id", "text"))
            out.writerows((rows.ids[place], rows.columns["text"][place]) for place in sample(rows))
        return
    said = read_readings()
    place_of = {row: place for place, row in enumerate(rows.ids)}
    places = [place_of[name] for name in said]
    readings = np.array([*said.values()], dtype=int)
    found = table(rows.wrong[places], rows.labels[places], readings, 1 - float(rows.wrong.mean()))
    print(found)
    if args.write_docs:
        put_between_marks(DOCUMENT, "disputed", found)


if __name__ == "__main__":
    run_main(main)
