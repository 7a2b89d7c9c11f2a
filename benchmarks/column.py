"""What is an extra column worth? The tweets' keyword beside the text, against the text alone, with five seeds.

    python -m benchmarks.column                  data/disaster-tweets, the embedded model, one epoch
    python -m benchmarks.column --write_docs     put the table into docs/customising.md too

The two are the examples a and d of recipes/examples, which differ in the column alone. Other flags go to the recipe. A
finished run is not made again, and an interrupted one is resumed.
"""

from benchmarks.choices import HEADER, metrics_of, rows_of
from benchmarks.customising import by_name, parse_arguments, write_table
from bert_recipes.cli.main import run_main
from bert_recipes.reporting.documents import markdown_table

SEEDS = (1, 2, 3, 4, 5)
# What is new is to be learned in one epoch.
SHARED = ["--num_train_epochs", "1", "--head_learning_rate", "1e-3"]
CHOICES = {
    "text": ["--classifier", "recipes/examples/a_linear_layer.py:LinearOnCls", *SHARED],
    "keyword": ["--classifier", "recipes/examples/d_extra_column.py:WithKeyword", *SHARED],
}


def table(runs: dict[str, list[dict]]) -> str:
    """Return the table in Markdown."""
    header = [title.replace("stock", "text") for title in HEADER]
    return markdown_table(header, rows_of(runs, CHOICES), "llrrrr")


def main():
    args, more = parse_arguments(__doc__, "runs/column", SEEDS)
    runs = by_name(CHOICES, args, lambda name, seed: metrics_of(name, seed, args.output_dir, more, CHOICES))
    print(table(runs))
    if args.write_docs:
        write_table("column", table(runs))


if __name__ == "__main__":
    run_main(main)
