"""The recipes' scripts: run in this process, and what they leave."""

import csv
import runpy
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

from support.paths import RECIPES, ROOT

BENCHMARKS = ("bench", "choices", "exactness", "few_rows", "long_texts")


def run_script(script: Path, *flags: object) -> None:
    """Run a script in this process; with --debug a mistake comes out as the `UserError` that the user would read."""
    with patch.object(sys, "argv", [str(script), *map(str, flags)]):
        runpy.run_path(str(script), run_name="__main__")


def recipe(name: str, folder: Path, data: Path, model: Path | str, *flags: str) -> None:
    """Run a recipe on a tiny model into `folder`; a mistake comes out as a `UserError`."""
    run_script(
        RECIPES / f"{name}.py",
        *("--dataset", data, "--model", model, "--output_dir", folder, "--max_length", "32"),
        *("--num_train_epochs", "1", "--logging_steps", "1", "--bf16", "false", "--learning_rate", "1e-3"),
        *flags,
        "--debug",
    )


def predictions(folder: Path) -> list[dict[str, str]]:
    """Return the rows of a run's predictions.csv."""
    with (folder / "predictions.csv").open() as file:
        return list(csv.DictReader(file))


def in_a_line(printed: str) -> str:
    """Return what was printed without the ends of lines that the terminal's width asked for."""
    return " ".join(printed.split())


def help_of(script: str) -> str:
    """Return what --help of a recipe, or of one of `BENCHMARKS`, prints."""
    words = ["-m", f"benchmarks.{script}"] if script in BENCHMARKS else [str(RECIPES / script)]
    command = [sys.executable, *words, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
