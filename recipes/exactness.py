"""Measure what a step's cut does to it: `Trainer` with the stock model as it comes, beside the two recipes.

    python recipes/exactness.py                               print the table
    python recipes/exactness.py --write docs/exactness.md     put it into the document, between its marks

Ten steps of 32 rows each, cut into 1 to 8 micro-batches on 1 to 4 processes. The model is a two-layer BERT with random
weights and without dropout, in float64 (`--bf16`: float32 under bfloat16 autocast, for a GPU that has it).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from bert_recipes.documents import put_between_marks
from bert_recipes.errors import run_main

ACCUMULATIONS, PROCESSES = (1, 2, 4, 8), (1, 2, 4)
HEADER = (
    *("accumulation", "processes", "loss: `Trainer`", "recipes", "gradient norm: `Trainer`", "recipes"),
    *("weights: `Trainer`", "stock", "custom"),
)


def distance(cut: dict, uncut: dict) -> float:
    """Return how far the weights ended from those of the uncut run, in parts of the way that the uncut run went."""
    weights = uncut["before"], cut["after"], uncut["after"]
    before, ours, theirs = (np.array(w) for w in weights)
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs - before))


def table(results: list[dict]) -> str:
    """Return the table in Markdown, a row for each cut."""
    of = {(r["kind"], r["accumulation"], r["processes"]): r for r in results}
    lines = [f"| {' | '.join(HEADER)} |", "|" + "--:|" * len(HEADER)]
    for processes, accumulation in sorted({(p, a) for _, a, p in of}):
        cut = {kind: of[kind, accumulation, processes] for kind in ("Trainer", "stock", "custom")}
        apart = [_small(distance(cut[kind], of[kind, 1, 1])) for kind in cut]
        numbers = [f"{cut[kind][name]:.4f}" for name in ("loss", "grad_norm") for kind in ("Trainer", "stock")]
        lines.append(f"| {' | '.join([str(accumulation), str(processes), *numbers, *apart])} |")
    return "\n".join(lines)


def _small(number: float) -> str:
    # What is only rounding has digits that are the processor's to choose.
    if number < 1e-12:
        return "< 1e-12" if number else "0"
    return f"{number:.3f}" if number >= 5e-4 else f"{number:.0e}"


def measure_all(bf16: bool) -> list[dict]:
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for processes in PROCESSES:
            out = Path(folder) / f"{processes}.json"
            command = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1"]
            command += ["--num_processes", str(processes), *(["--multi_gpu"] if processes > 1 else [])]
            command += ["--mixed_precision", "no", "--dynamo_backend", "no"]
            command += [__file__, "--measure", str(out), *(["--bf16"] if bf16 else [])]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            results += json.loads(out.read_text())
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="the document to put the table into")
    parser.add_argument("--bf16", action="store_true", help="float32 under bfloat16 autocast")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # what a launched process is told
    args = parser.parse_args()
    if args.measure:
        # Here, not above: it takes seconds, and --help needs none of it.
        from bert_recipes.exactness import measure, save_encoder

        processes = int(os.environ.get("WORLD_SIZE", "1"))
        kinds = ("Trainer", "stock", "custom")
        with tempfile.TemporaryDirectory() as folder:
            save_encoder(folder)
            results = [measure(folder, kind, a, processes, args.bf16) for a in ACCUMULATIONS for kind in kinds]
        if int(os.environ.get("RANK", "0")) == 0:
            args.measure.write_text(json.dumps(results))
        return
    measured = table(measure_all(args.bf16))
    print(measured)
    if args.write:
        put_between_marks(args.write, "exactness", measured)


if __name__ == "__main__":
    run_main(main)
