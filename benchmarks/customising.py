"""What the measurements of docs/customising.md share: their flags, their runs, and where their tables go."""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bert_recipes.cli.parser import ScriptParser
from bert_recipes.errors import UserError
from bert_recipes.reporting.documents import put_between_marks

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "docs" / f"customising{suffix}.md" for suffix in ("", ".ko")]


def make_parser(doc: str | None, folder: str) -> ScriptParser:
    """Return a parser of the flags that all have: where the runs go, by default `folder`, and `--write_docs`."""
    parser = ScriptParser(doc)
    parser.add_argument("--output_dir", type=Path, default=Path(folder), help="where the runs go")
    parser.add_argument(
        "--write_docs", action="store_true", help="put the table into docs/customising.md and its twin"
    )
    return parser


def parse_arguments(doc: str | None, folder: str, seeds: Sequence[int]) -> tuple[argparse.Namespace, list[str]]:
    """Return the flags that all have, `seeds` and `jobs`, and the flags that go to the recipe."""
    parser = make_parser(doc, folder)
    parser.add_argument("--seeds", type=int, nargs="+", default=seeds, help=f"({' '.join(map(str, seeds))})")
    parser.add_argument("--jobs", type=int, default=1, help="trainings beside each other, for a GPU (1)")
    return parser.parse_known_args()


def by_name(names: Iterable[str], args: argparse.Namespace, measure: Callable[[str, int], dict]) -> dict[str, list]:
    """Return what is measured of each name with each seed, so many at once as there are jobs."""
    cases = [(name, seed) for seed in args.seeds for name in names]
    with ThreadPoolExecutor(args.jobs) as pool:
        measured = dict(zip(cases, pool.map(lambda case: measure(*case), cases), strict=True))
    return {name: [measured[name, seed] for seed in args.seeds] for name in names}


def run_recipe(script: str, run: Path, flags: Sequence[object]) -> None:
    """Make a run of `recipes/<script>` in the folder `run`, unless it is there; its model is not kept.

    Raises:
        UserError: the run failed.
    """
    if not (run / "metrics.json").is_file():
        command = [sys.executable, ROOT / "recipes" / script, *flags]
        status = subprocess.run([str(word) for word in command]).returncode
        if status:
            raise UserError(f"the run in {run} ended with status {status}: mend what it says and start again.")
    for part in ("checkpoints", "model"):
        shutil.rmtree(run / part, ignore_errors=True)


def write_table(mark: str, table: str) -> None:
    """Put the table of a measurement into the page, in both languages."""
    for document in DOCUMENTS:
        put_between_marks(document, mark, table)
