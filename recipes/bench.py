"""Measure training and prediction: the usual defaults, this project's, and each of its choices taken back.

    python recipes/bench.py
    python recipes/bench.py --dataset data/disaster-tweets --model google-bert/bert-base-uncased
    python recipes/bench.py --only length

All lines of a table run in one process in interleaved rounds, and the medians are shown, so that a busy machine slows
them alike; only the peaks of memory, and two processes against one, take processes of their own. Without `--dataset`
the texts are random words with the lengths of the competition's tweets. On a GPU the model is `bert-base` with random
weights unless `--model` names one.

Columns: `real tokens` are those that are no padding; `share` is operations (2 for each weight and token of a forward
pass, plus attention; three times as many in training) against those of a bfloat16 matrix product, 2048 by 2048 (on
a GPU 8192 by 8192), measured in every round. In training the padding is that of an epoch, and rows/s and tokens/s are
those of an epoch whose tokens, padding included, take as long as those of the steps measured: a few steps, each of
texts of like length, are no epoch in small.
"""

import argparse
import json
import logging
import os
from pathlib import Path

from bert_recipes.documents import put_between_marks
from bert_recipes.errors import UserError, run_main
from bert_recipes.files import writing

DOCS = Path(__file__).parents[1] / "docs" / "performance.md"
TABLES = ("train", "predict", "length", "profile", "grid", "processes")


def as_markdown(results: dict) -> str:
    """Return the tables, with what they were measured on and the command above them."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    lines = [
        f"`{results['command']}`: {results['model']}; texts: {results['texts']}; {results['machine']}; {versions}; "
        f"matrix product {results['matrix_rate'] / 1e9:,.0f} GFLOP/s.",
        "",
    ]
    for title, first in (("training", "stock example"), ("prediction", "pipeline")):
        if title in results:
            lines += _table(title, first, results[title])
    if "length" in results:
        lines += ["| tokens of a text | training: ms a text | µs a token | prediction: ms a text | µs a token |"]
        lines += ["|--:|--:|--:|--:|--:|"]
        for length, parts in results["length"].items():
            cells = []
            for part in ("training", "prediction"):
                each = 1 / parts[part]["rows_per_second"]
                cells += [f"{each * 1e3:.2f}", f"{each / int(length) * 1e6:.1f}"]
            lines.append(f"| {length} | {' | '.join(cells)} |")
        lines.append("")
    if "processes" in results:
        base = next(iter(results["processes"].values()))["rows_per_second"]
        lines += ["| processes | texts of a step | rows/s | x one process |", "|--:|--:|--:|--:|"]
        for count, figures in results["processes"].items():
            rows = figures["rows_per_second"]
            lines.append(f"| {count} | {figures['rows_of_a_step']:.0f} | {rows:,.1f} | {rows / base:.2f} |")
        lines.append("")
    if "profile" in results:
        lines += ["| training: operation | share of the time | prediction: operation | share of the time |"]
        lines += ["|---|--:|---|--:|"]
        for pairs in zip(*(part.items() for part in results["profile"].values()), strict=True):
            lines.append("| " + " | ".join(f"`{name}` | {share:.1%}" for name, share in pairs) + " |")
        lines.append("")
    if "grid" in results:
        lines += ["| texts x tokens | rows/s | share of matrix rate | peak memory |", "|---|--:|--:|--:|"]
        for name, figures in results["grid"].items():
            if figures is None:
                lines.append(f"| {name} | out of memory | | |")
            else:
                memory = f"{figures['peak_memory'] / 2**30:.1f} GiB"
                lines.append(f"| {name} | {figures['rows_per_second']:,.0f} | {figures['share']:.0%} | {memory} |")
        lines.append("")
    return "\n".join(lines)


def _table(title: str, first: str, table: dict) -> list[str]:
    base = next(iter(table.values()))["rows_per_second"]
    training = title == "training"
    lines = [
        f"| {title} | rows/s | x {first} | real tokens/s | padding | GFLOP/s | share of matrix rate |"
        + (" peak memory | s to first step |" if training else ""),
        "|---|--:|--:|--:|--:|--:|--:|" + ("--:|--:|" if training else ""),
    ]
    for name, f in table.items():
        line = f"| {name} | {f['rows_per_second']:,.1f} | {f['rows_per_second'] / base:.2f} | "
        line += f"{f['tokens_per_second']:,.0f} | {f['padding']:.1%} | {f['flops'] / 1e9:,.0f} | {f['share']:.0%} |"
        if training:
            memory = f"{f['peak_memory'] / 2**20:,.0f} MiB" if "peak_memory" in f else ""
            line += f" {memory} | {f['seconds_to_first_step']:.1f} |"
        lines.append(line)
    return [*lines, ""]


def write_docs(results: dict, table: str) -> None:
    """Put the tables between the markers of docs/performance.md that name the kind of device; plot the lengths."""
    device = "gpu" if results["device"] == "cuda" else "cpu"
    if missing := [
        name for name in ("training", "prediction", "length", "profile", "processes") if name not in results
    ]:
        raise UserError(f"bench.json has no {' and no '.join(missing)}: run make bench without --only first.")
    plot_lengths(results, DOCS.with_name(f"length_{device}.svg"))
    table += f"\n![time of a text against its length](length_{device}.svg)"
    put_between_marks(DOCS, f"bench on {device}", table.strip())


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


def parse_arguments():
    """Read the flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", nargs="+", help="as the recipes take it (random words)")
    parser.add_argument("--model", help="as the recipes take it (embedded:minilm; on a GPU a random bert-base)")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES, help="tables to measure (all)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds over all lines (3)")
    parser.add_argument("--steps", type=int, default=4, help="training steps measured in a round (4)")
    parser.add_argument("--rows", type=int, default=4096, help="texts (4096)")
    parser.add_argument("--output_dir", default="runs/bench", help="where bench.json and bench.md go (runs/bench)")
    parser.add_argument("--write_docs", action="store_true", help="put the tables there into docs/performance.md")
    parser.add_argument("--part", help=argparse.SUPPRESS)  # what a process of its own is started for
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args()


def main():
    args = parse_arguments()
    folder = Path(args.output_dir)
    if args.write_docs:
        if not (folder / "bench.json").is_file():
            raise UserError(f"--write_docs: there is no {folder}/bench.json to write of: run make bench first.")
        results = json.loads((folder / "bench.json").read_text(encoding="utf-8"))
        write_docs(results, as_markdown(results))
        return
    # Here, not above: they take seconds, and --help and --write_docs need none of them.
    from bert_recipes import bench

    logging.disable(logging.WARNING)
    if args.part:
        figures = bench.measure_part(args)
        if int(os.environ.get("RANK", "0")) == 0:
            print(json.dumps(figures))
        return
    results = bench.measure(args)
    folder.mkdir(parents=True, exist_ok=True)
    with writing(folder / "bench.json") as file:
        json.dump(results, file, indent=2)
    with writing(folder / "bench.md") as file:
        file.write(as_markdown(results))
    print(f"\r{'':<110}\r{as_markdown(results)}")


if __name__ == "__main__":
    run_main(main)
