"""Measure training, prediction and the service: usual defaults, this project's, and each of its choices taken back.

    python -m benchmarks.bench
    python -m benchmarks.bench --dataset data/disaster-tweets --model google-bert/bert-base-uncased
    python -m benchmarks.bench --only length
    python -m benchmarks.bench --only serve --litserve_python /tmp/litserve/bin/python

All lines of a table run in one process in interleaved rounds, and the medians are shown, so that a busy machine slows
them alike; only the peaks of memory, and two processes against one, take processes of their own. Without `--dataset`
the texts are random words with the lengths of the competition's tweets. On a GPU the model is `bert-base` with random
weights unless `--model` names one.

Columns: `real tokens` are those that are no padding; `share` is operations (2 for each weight and token of a forward
pass, plus attention; three times as many in training) against those of a bfloat16 matrix product, 2048 by 2048 (on
a GPU 8192 by 8192), measured in every round. In training the padding is that of an epoch, and rows/s and tokens/s are
those of an epoch whose tokens, padding included, take as long as those of the steps measured: a few steps, each of
texts of like length, are no epoch in small. benchmarks/serving.py tells how the service is loaded; it needs `wrk`.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.serving import has_wrk, version_of
from bert_recipes.cli.main import run_main
from bert_recipes.cli.parser import ScriptParser
from bert_recipes.errors import UserError
from bert_recipes.files import writing
from bert_recipes.reporting.documents import markdown_table, put_between_marks

DOCS = Path(__file__).parents[1] / "docs"
DOCUMENT, OF_SERVICE = DOCS / "performance.md", DOCS / "serving.md"
TABLES = ("train", "predict", "length", "profile", "grid", "compiled", "processes", "serve")


def as_markdown(results: dict) -> str:
    """Return the tables, with what they were measured on and the command above them."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    parts = [
        f"`{results['command']}`: {results['model']}; texts: {results['texts']}; {results['machine']}; {versions}; "
        f"matrix product {results['matrix_rate'] / 1e9:,.0f} GFLOP/s."
    ]
    parts += [make(results[name]) for name, make in MARKDOWN.items() if name in results]
    return "\n\n".join(parts) + "\n"


def training_table(lines: dict) -> str:
    """Return the table of training: a row for each line."""
    rows = []
    for cells, figures in zip(_speed_cells(lines), lines.values(), strict=True):
        memory = f"{figures['peak_memory'] / 2**20:,.0f} MiB" if "peak_memory" in figures else ""
        rows.append([*cells, memory, f"{figures['seconds_to_first_step']:.1f}"])
    header = [*_speed_header("training", "stock example"), "peak memory", "s to first step"]
    return markdown_table(header, rows, "lrrrrrrrr")


def prediction_table(lines: dict) -> str:
    """Return the table of prediction: a row for each line."""
    return markdown_table(_speed_header("prediction", "pipeline"), _speed_cells(lines), "lrrrrrr")


def _speed_header(title: str, first: str) -> list[str]:
    return [title, "rows/s", f"x {first}", "real tokens/s", "padding", "GFLOP/s", "share of matrix rate"]


def _speed_cells(lines: dict) -> list[list[str]]:
    base = next(iter(lines.values()))["rows_per_second"]
    return [
        [
            name,
            f"{f['rows_per_second']:,.1f}",
            f"{f['rows_per_second'] / base:.2f}",
            f"{f['tokens_per_second']:,.0f}",
            f"{f['padding']:.1%}",
            f"{f['flops'] / 1e9:,.0f}",
            f"{f['share']:.0%}",
        ]
        for name, f in lines.items()
    ]


def length_table(lengths: dict) -> str:
    """Return the table of the time that a text takes by its length."""
    rows = []
    for length, parts in lengths.items():
        cells = [str(length)]
        for part in ("training", "prediction"):
            each = 1 / parts[part]["rows_per_second"]
            cells += [f"{each * 1e3:.2f}", f"{each / int(length) * 1e6:.1f}"]
        rows.append(cells)
    header = ["tokens of a text", *("training: ms a text", "µs a token"), *("prediction: ms a text", "µs a token")]
    return markdown_table(header, rows, "rrrrr")


def processes_table(counts: dict) -> str:
    """Return the table of a step that is dealt to several processes."""
    base = next(iter(counts.values()))["rows_per_second"]
    rows = []
    for count, figures in counts.items():
        speed = figures["rows_per_second"]
        rows.append([str(count), f"{figures['rows_of_a_step']:.0f}", f"{speed:,.1f}", f"{speed / base:.2f}"])
    return markdown_table(["processes", "texts of a step", "rows/s", "x one process"], rows, "rrrr")


def profile_table(parts: dict) -> str:
    """Return the table of the operations that take most of the time."""
    rows = []
    for pairs in zip(*(part.items() for part in parts.values()), strict=True):
        rows.append([cell for name, share in pairs for cell in (f"`{name}`", f"{share:.1%}")])
    share = "share of the time"
    return markdown_table(["training: operation", share, "prediction: operation", share], rows, "lrlr")


def grid_table(sizes: dict) -> str:
    """Return the table of training steps of many sizes on a GPU."""
    rows = []
    for size, lines in sizes.items():
        stock, in_bf16, ours, unpadded, launched = [*lines.values(), None, None, None, None][:5]
        speeds = [_speed(line) for line in (stock, in_bf16, ours)]
        ratio = f"{ours['rows_per_second'] / stock['rows_per_second']:.1f}" if stock and ours else ""
        share = f"{ours['share']:.0%}" if ours else ""
        peaks = [f"{line['peak_memory'] / 2**30:.1f}" if line else "" for line in (stock, in_bf16, ours)]
        rows.append([size, *speeds, ratio, share, _speed(launched), _speed(unpadded), *peaks])
    header = ["texts x tokens", "stock example: rows/s", "in bfloat16", "**ours**", "x stock example"]
    header += ["share of matrix rate", "without CUDA graphs", "unpadded"]
    header += ["GiB: stock example", "in bfloat16", "ours"]
    return markdown_table(header, rows, "r" * len(header))


def compiled_table(lines: dict) -> str:
    """Return the table of compiled training."""
    ours = next(iter(lines.values()))["rows_per_second"]
    rows = [
        [
            name,
            f"{line['rows_per_second']:,.0f}",
            f"{line['rows_per_second'] / ours:.2f}",
            f"{line['share']:.0%}",
            f"{line['peak_memory'] / 2**30:.1f}",
            f"{line['seconds_to_first_step']:.0f}",
        ]
        for name, line in lines.items()
    ]
    header = ["128 texts of 128 tokens", "rows/s", "x as it is", "share of matrix rate", "GiB", "s to first step"]
    return markdown_table(header, rows, "lrrrrr")


def prediction_grid_table(lengths: dict) -> str:
    """Return the table of prediction on a GPU, for texts of several lengths."""
    rows = []
    for length, lines in lengths.items():
        *pipelines, ours, unpadded = lines.values()
        speed, first, best = ours["rows_per_second"], pipelines[0], max(p["rows_per_second"] for p in pipelines)
        ratios = [f"{speed / first['rows_per_second']:.1f}", f"{speed / best:.1f}"]
        rows.append([length, *map(_speed, (*pipelines, ours)), *ratios, f"{ours['share']:.0%}", _speed(unpadded)])
    names = [name for name in next(iter(lengths.values())) if name.startswith("`")]
    header = ["tokens", *names, "**ours**: rows/s", "x batch of 32", "x the best", "share of matrix rate", "unpadded"]
    return markdown_table(header, rows, "r" * len(header))


def _speed(figures: dict | None) -> str:
    return f"{figures['rows_per_second']:,.0f}" if figures else "out of memory"


def service_table(lines: list[dict]) -> str:
    """Return the table of the service under load."""
    rows = [
        [
            line["service"],
            str(line["clients"]),
            f"{line['requests_per_second']:,.0f}",
            f"{line['p50_ms']:,.0f}",
            f"{line['p99_ms']:,.0f}",
            f"{line['errors']:,}",
        ]
        for line in lines
    ]
    return markdown_table(["service", "clients", "requests/s", "p50, ms", "p99, ms", "errors"], rows, "lrrrrr")


# By their names in bench.json, in the order of the document.
MARKDOWN: dict[str, Callable[[Any], str]] = {
    "training": training_table,
    "prediction": prediction_table,
    "length": length_table,
    "processes": processes_table,
    "profile": profile_table,
    "grid": grid_table,
    "prediction_grid": prediction_grid_table,
    "compiled": compiled_table,
    "service": service_table,
}


ON_A_GPU = {"grid", "prediction_grid", "compiled"}
# Models whose tables have a place of their own beside that of the bench's default.
BESIDE = {"embedded:mpnet"}


def write_docs(results: dict) -> None:
    """Put the tables between the marks that name the kind of device; that of the service has a page of its own.

    Raises:
        UserError: a table is missing.
    """
    device = "gpu" if results["device"] == "cuda" else "cpu"
    if "service" in results:
        alone = {name: value for name, value in results.items() if name not in MARKDOWN or name == "service"}
        put_between_marks(OF_SERVICE, f"bench serve on {device}", as_markdown(alone).rstrip())
    results = {name: value for name, value in results.items() if name != "service"}
    if any(name in results for name in MARKDOWN):
        _write_speed(results, device)


def _write_speed(results: dict, device: str) -> None:
    # A GPU alone has no second one to deal a step to, and is lent by the minute.
    optional = {*ON_A_GPU, "service"} if device == "cpu" else set(MARKDOWN) - {"grid", "prediction_grid"}
    is_beside = results.get("model") in BESIDE
    if is_beside:
        optional = set(MARKDOWN) - {"training"}
    if missing := [name for name in MARKDOWN if name not in results and name not in optional]:
        raise UserError(f"bench.json has no {' and no '.join(missing)}: run make bench without --only first.")
    tables = as_markdown(results)
    if "length" in results and not is_beside:
        plot = DOCUMENT.with_name(f"length_{device}.svg")
        plot_lengths(results, plot)
        tables += f"\n![time of a text against its length]({plot.name})"
    what = f"bench of {results['model']}" if is_beside else "bench"
    put_between_marks(DOCUMENT, f"{what} on {device}", tables)


def plot_lengths(results: dict, path: Path) -> None:
    """Plot the time of a text against its length, beside a line of equal time for every token."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    lengths = [int(length) for length in results["length"]]
    for part, colour, marker in (("training", "#0072b2", "o"), ("prediction", "#d55e00", "s")):
        times = [1e3 / figures[part]["rows_per_second"] for figures in results["length"].values()]
        axes.loglog(lengths, times, color=colour, marker=marker, label=part, base=2)
        axes.loglog(lengths, [times[1] * n / lengths[1] for n in lengths], color=colour, ls=":", lw=1, base=2)
    axes.plot([], [], color="grey", ls=":", lw=1, label=f"as much a token as at {lengths[1]} tokens")
    axes.set(
        xlabel="tokens of a text", ylabel="milliseconds a text", title=f"{results['model']}, {results['machine']}"
    )
    axes.title.set_fontsize(8)
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def parse_arguments() -> argparse.Namespace:
    """Read the flags."""
    parser = ScriptParser(__doc__)
    parser.add_argument("--dataset", nargs="+", help="as the recipes take it (random words)")
    parser.add_argument("--model", help="as the recipes take it (embedded:minilm; on a GPU a random bert-base)")
    parser.add_argument("--only", nargs="+", choices=TABLES, help="tables to measure (all)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all lines (3)")
    parser.add_argument("--steps", type=int, default=4, help="training steps measured in a round (4)")
    parser.add_argument("--rows", type=int, default=4096, help="texts (4096)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64], help="of the service, at once (1 8 64)")
    parser.add_argument("--seconds", type=int, default=10, help="that the service is loaded in a round (10)")
    parser.add_argument("--litserve_python", help="a Python that has LitServe, to load it beside the service")
    parser.add_argument("--output_dir", default="runs/bench", help="where bench.json and bench.md go (runs/bench)")
    parser.add_argument("--write_docs", action="store_true", help="measure nothing; put the tables there into docs/")
    parser.add_argument("--part", help=argparse.SUPPRESS)  # what a process of its own is started for
    args = parser.parse_args()
    if not has_wrk() and not args.write_docs and "serve" in (args.only or TABLES):
        if args.only:
            raise UserError("the service is loaded with wrk, which is not installed: apt install wrk.")
        print("The table 'serve' is left out: wrk is not installed (apt install wrk).", file=sys.stderr)
        args.only = [name for name in TABLES if name != "serve"]
    args.only = args.only or TABLES
    if args.litserve_python:
        version_of("litserve", args.litserve_python)
    return args


def _of_the_same(path: Path, measured: dict) -> dict:
    """Return what was measured before of the same things on the same machine, for other tables to go beside it."""
    if not path.is_file():
        return {}
    there = json.loads(path.read_text(encoding="utf-8"))
    if any(there.get(name) != measured[name] for name in ("machine", "versions", "model", "texts")):
        return {}
    commands = dict.fromkeys([*there["command"].split("` and `"), measured["command"]])
    return there | {"command": "` and `".join(commands)}


def main():
    args = parse_arguments()
    folder = Path(args.output_dir)
    if args.write_docs:
        if not (folder / "bench.json").is_file():
            raise UserError(f"--write_docs: there is no {folder}/bench.json to write of: run make bench first.")
        results = json.loads((folder / "bench.json").read_text(encoding="utf-8"))
        write_docs(results)
        return
    from benchmarks import speed

    logging.disable(logging.WARNING)
    if args.part:
        figures = speed.measure_part(args)
        if int(os.environ.get("RANK", "0")) == 0:
            print(json.dumps(figures))
        return
    folder.mkdir(parents=True, exist_ok=True)
    results = {}
    for measured in speed.measure(args):
        results = results or _of_the_same(folder / "bench.json", measured)
        # A command none of whose tables is left has no part in what is there.
        commands = {"command": results["command"]} if results.keys() - measured.keys() else {}
        results |= measured | commands
        # Again after each line: what is stopped keeps what it has.
        with writing(folder / "bench.json") as file:
            json.dump(results, file, indent=2)
    if not results:
        raise UserError(f"--only {' '.join(args.only)}: no such table is made of this kind of device.")
    with writing(folder / "bench.md") as file:
        file.write(as_markdown(results))
    print(f"\r{'':<110}\r{as_markdown(results)}")


if __name__ == "__main__":
    run_main(main)
