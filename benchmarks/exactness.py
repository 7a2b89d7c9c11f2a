"""Measure what a step's cut does to it: `Trainer` with the stock model as it comes, beside the two recipes.

    python -m benchmarks.exactness                  print the table
    python -m benchmarks.exactness --write_docs     put it into docs/exactness.md too

Ten steps of 32 rows each, cut into 1 to 8 micro-batches on 1 to 4 processes, or on as many as there are GPUs, where
there are any. The model is a two-layer BERT with random weights and without dropout, in float64 (`--bf16`: float32
under bfloat16 autocast).
"""

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.launching import launched
from bert_recipes.cli.main import run_main
from bert_recipes.cli.parser import ScriptParser
from bert_recipes.errors import UserError
from bert_recipes.reporting.documents import markdown_table, put_between_marks

DOCUMENT = Path(__file__).parents[1] / "docs" / "exactness.md"
KINDS = ("Trainer", "stock", "custom")
ACCUMULATIONS, PROCESSES = (1, 2, 4, 8), (1, 2, 4)
HEADER = (
    *("accumulation", "processes", "loss: `Trainer`", "recipes", "gradient norm: `Trainer`", "recipes"),
    *("weights: `Trainer`", "stock", "custom"),
)


def distance(cut: dict, uncut: dict) -> float:
    """Return how far the weights ended from those of the uncut run, in parts of the way that the uncut run went."""
    before, ours, theirs = (np.array(weights) for weights in (uncut["before"], cut["after"], uncut["after"]))
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs - before))


def table(results: list[dict]) -> str:
    """Return the table in Markdown, a row for each cut."""
    of = {(r["kind"], r["accumulation"], r["processes"]): r for r in results}
    rows = []
    for processes, accumulation in sorted({(p, a) for _, a, p in of}):
        cut = {kind: of[kind, accumulation, processes] for kind in KINDS}
        apart = [_small(distance(cut[kind], of[kind, 1, 1])) for kind in KINDS]
        numbers = [f"{cut[kind][name]:.4f}" for name in ("loss", "grad_norm") for kind in ("Trainer", "stock")]
        rows.append([str(accumulation), str(processes), *numbers, *apart])
    return markdown_table(HEADER, rows, "r" * len(HEADER))


def _small(number: float) -> str:
    # What is only rounding has digits that are the processor's to choose.
    if number < 1e-12:
        return "< 1e-12" if number else "0"
    return f"{number:.3f}" if number >= 5e-4 else f"{number:.0e}"


def measure_all(bf16: bool) -> list[dict]:
    """Return the results of every kind and cut; benchmarks/cut_steps.py takes the steps."""
    results = []
    import torch

    gpus = torch.cuda.device_count()
    with tempfile.TemporaryDirectory() as folder:
        for processes in (count for count in PROCESSES if count <= gpus or not gpus):
            out = Path(folder) / f"{processes}.json"
            command = [*launched("benchmarks.cut_steps", processes), str(out), *(["--bf16"] if bf16 else [])]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            results += json.loads(out.read_text())
    return results


def main():
    parser = ScriptParser(__doc__)
    parser.add_argument("--bf16", action="store_true", help="float32 under bfloat16 autocast")
    parser.add_argument("--write_docs", action="store_true", help="put the table into docs/exactness.md")
    args = parser.parse_args()
    import torch

    if args.write_docs and torch.cuda.is_available():
        raise UserError(
            "--write_docs: the document has the table of a CPU: hide the GPUs with CUDA_VISIBLE_DEVICES=-1."
        )
    measured = table(measure_all(args.bf16))
    print(measured)
    if args.write_docs:
        put_between_marks(DOCUMENT, "exactness", measured)


if __name__ == "__main__":
    run_main(main)
