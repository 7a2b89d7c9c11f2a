"""Measure the exports of a run beside torch and `pipeline`: texts a second, one text from the command line, flips.

    python -m benchmarks.exports --model runs/stock
    python -m benchmarks.exports --model runs/stock --write_docs       put the table into docs/deploying.md too

The exports are made by recipes/export.py, unless they are there. All lines predict random texts as long as tweets, in
one process, on one thread, in interleaved rounds, and the medians are shown. `flips` and F1 are those of parity.json,
on the run's validation rows, against the model in float32. CPU seconds and memory are those of a process that predicts
one text from standard input, of three the median.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.customising import ROOT
from bert_recipes.cli.main import run_main
from bert_recipes.cli.parser import ScriptParser
from bert_recipes.config.saved import METRICS_FILE
from bert_recipes.errors import UserError
from bert_recipes.files import read_json, write_json
from bert_recipes.reporting.documents import markdown_table, put_between_marks

DOCUMENT = ROOT / "docs/deploying.md"
PIPELINE = "`pipeline(batch_size=32)`"
BATCH = 32
# By name: the flags of recipes/export.py, and what recipes/predict.py is given as --bf16.
EXPORTS: dict[str, tuple[list[str], bool | None]] = {
    "ONNX": (["--format", "onnx"], None),
    "ONNX, int8": (["--format", "onnx", "--int8"], None),
    "OpenVINO": (["--format", "openvino"], False),
    "OpenVINO in bfloat16": (["--format", "openvino"], True),
    "OpenVINO, int8": (["--format", "openvino", "--int8"], None),
}
TEXT = "Forest fire near La Ronge Sask. Canada\n"
HEADER = ("", "texts/s", "x pipeline", "flips", "F1 or accuracy", "MB", "one text: CPU s", "MiB")
# What predicts texts.
Predict = Callable[[list[str]], object]


def export_of(run: str, flags: list[str], folder: Path) -> Path:
    """Return the folder of an export of a run, made unless it is there, and of the run as it is now.

    Raises:
        UserError: it could not be made.
    """
    of_run = hashlib.sha256(str(Path(run).resolve()).encode()).hexdigest()[:8]
    export = folder / of_run / "-".join(flag.strip("-") for flag in flags if flag != "--format")
    made = export / "export.json"
    if not made.is_file() or made.stat().st_mtime < (Path(run) / METRICS_FILE).stat().st_mtime:
        command = [sys.executable, ROOT / "recipes/export.py", "--model", run, *flags, "--output_dir", export]
        command.append("--overwrite")
        if subprocess.run([str(word) for word in command]).returncode:
            raise UserError(f"{' '.join(flags)}: the export of {run} failed, for the reason above.")
    return export


def with_pipeline(run: str, max_length: int) -> Predict:
    """Return what predicts as the `pipeline` of transformers does, in float32."""
    import torch
    from transformers import pipeline

    import bert_recipes.modeling.models  # noqa: F401  (whose classes the model of the custom recipe has)

    classify = pipeline("text-classification", model=f"{run}/model", device=torch.device("cpu"), dtype=torch.float32)
    return lambda texts: classify(texts, truncation=True, max_length=max_length, batch_size=BATCH)


def with_rows(predictor: Any) -> Predict:
    """Return what predicts as `make predict` does."""
    from bert_recipes.inference.rows import TextRow

    return lambda texts: [*predictor.probabilities(TextRow("", text) for text in texts)]


# In a process between, since a process begins with the peak of the one that it was forked from.
USAGE = """
import json, resource, subprocess, sys
status = subprocess.run(sys.argv[2:], input=sys.argv[1], text=True, stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([status, used.ru_utime + used.ru_stime, used.ru_maxrss]))
"""


def cold_start(model: str, bf16: bool | None) -> tuple[float, float]:
    """Return the CPU seconds and the peak memory, in MiB, of predicting one text from the command line."""
    command = [sys.executable, str(ROOT / "recipes/predict.py"), "--model", model]
    command += [] if bf16 is None else ["--bf16", str(bf16).lower()]
    seconds, peaks = [], []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", USAGE, TEXT, *command], stdout=subprocess.PIPE, check=True)
        status, used, peak = json.loads(done.stdout)
        if status:
            raise UserError(f"{' '.join(command)} failed, for the reason above.")
        seconds.append(used)
        peaks.append(peak / (2**20 if sys.platform == "darwin" else 1024))
    return statistics.median(seconds), statistics.median(peaks)


def measure(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return, by line, what was measured of it."""
    import torch

    from benchmarks.measures import synthetic_texts
    from bert_recipes.devices import has_native_bf16
    from bert_recipes.inference.exported import ExportedPredictor
    from bert_recipes.inference.predictor import Predictor

    torch.set_num_threads(1)
    half = has_native_bf16()
    torch_model = Predictor.load(args.model, bf16=False)
    texts = list(synthetic_texts(args.rows, torch_model.tokenizer))
    predict: dict[str, Predict] = {PIPELINE: with_pipeline(args.model, torch_model.max_length)}
    loaded: dict[str, tuple[str, bool | None]] = {"this project, float32": (args.model, False)}
    predict["this project, float32"] = with_rows(torch_model)
    if half:
        predict["this project, bfloat16"] = with_rows(Predictor.load(args.model, bf16=True))
        loaded["this project, bfloat16"] = (args.model, True)
    of_export: dict[str, Path] = {}
    for name, (flags, bf16) in EXPORTS.items():
        if half or not bf16:
            of_export[name] = export_of(args.model, flags, args.output_dir)
            predict[name] = with_rows(ExportedPredictor.load(of_export[name], bf16=bf16))
            loaded[name] = (str(of_export[name]), bf16)
    rounds: dict[str, list[float]] = {name: [] for name in predict}
    for number in range(args.rounds + 1):
        for name, of_texts in predict.items():
            some = texts[: args.rows // 4] if name == PIPELINE else texts
            started = time.perf_counter()
            of_texts(some)
            if number:  # the first one warms up
                rounds[name].append(len(some) / (time.perf_counter() - started))
    lines: dict[str, dict[str, float]] = {name: {"rate": statistics.median(found)} for name, found in rounds.items()}
    for name, asked in loaded.items():
        lines[name]["cpu_seconds"], lines[name]["peak_mib"] = cold_start(*asked)
    for name, export in of_export.items():
        parity, files = read_json(export / "parity.json"), [*export.iterdir()]
        lines[name] |= {"megabytes": sum(file.stat().st_size for file in files) / 1e6}
        if not EXPORTS[name][1]:  # parity.json is of the graph as it was written
            score = "f1" if "f1" in parity["after"] else "accuracy"
            lines[name] |= {"flips": parity["flips"], "rows": parity["rows"], "score": parity["after"][score]}
            lines["this project, float32"]["score"] = parity["before"][score]
    return lines


def table(lines: dict[str, dict[str, float]]) -> str:
    """Return the table in Markdown."""
    slowest = lines[PIPELINE]["rate"]
    forms = {"score": ".4f", "megabytes": ".0f", "cpu_seconds": ".1f", "peak_mib": ".0f"}
    rows = []
    for name, line in lines.items():
        flips = f"{line['flips']:.0f} of {line['rows']:.0f}" if "flips" in line else ""
        others = [f"{line[key]:{form}}" if key in line else "" for key, form in forms.items()]
        rows.append([name, f"{line['rate']:,.1f}", f"{line['rate'] / slowest:.2f}", flips, *others])
    return markdown_table(HEADER, rows, "lrrrrrrr")


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--model", required=True, help="the folder of a finished run of one text")
    parser.add_argument("--rows", type=int, default=1024, help="texts (1024)")
    parser.add_argument("--rounds", type=int, default=3, help="(3)")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/bench/exports"), help="of the exports")
    parser.add_argument("--write_docs", action="store_true", help="put the table into docs/deploying.md")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    from benchmarks.measures import machine
    from bert_recipes.runs.environment import versions

    lines = measure(args)
    about = {"model": args.model, "machine": machine(torch.device("cpu")), "versions": versions()}
    write_json(args.output_dir / "exports.json", about | {"lines": lines})
    print(json.dumps(about), table(lines), sep="\n\n")
    if args.write_docs:
        put_between_marks(DOCUMENT, "bench-exports", f"{about['machine']}, one thread.\n\n{table(lines)}")


if __name__ == "__main__":
    run_main(main)
