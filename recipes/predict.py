"""Predict new texts with a model that a recipe trained: a stream in, a stream out, in the order of the rows.

    python recipes/predict.py --model runs/stock --input new.csv --output predictions.csv
    python recipes/predict.py --model runs/custom/export --input new.csv
    echo "Forest fire near La Ronge Sask. Canada" | python recipes/predict.py --model runs/custom

The output has `id`, `prediction` and one probability column per label. A file is written whole or not at all; without
`--output` they go to standard output, some thousands at a time. Memory does not grow with the number of rows.

Several processes (`make predict PROCS=2`, `accelerate launch`, torchrun, srun) share the rows, on one machine or many,
and leave the file that one would: docs/scale.md. Killed, the same command goes on from the parts that are finished.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bert_recipes.cli.main import run_main
from bert_recipes.cli.parser import ScriptParser
from bert_recipes.config.arguments import QUOTINGS
from bert_recipes.config.ranges import check_ranges
from bert_recipes.inference.parts_folder import PartsFolder, check_files, parts_of, taking_part
from bert_recipes.processes import Process, leave_group, this_process

if TYPE_CHECKING:
    from bert_recipes.inference.rows import TextRow
    from bert_recipes.inference.rows_predictor import RowsPredictor


def parse_arguments() -> argparse.Namespace:
    parser = ScriptParser(__doc__)
    parser.add_argument(
        "--model", required=True, help="a run (its folds together), an export, a model folder or a Hub id"
    )
    parser.add_argument(
        "--input",
        nargs="+",
        default=["-"],
        help="files of rows as training takes them, a folder of them, a pattern, or .txt with a text per line; "
        "several in one word, too, where no file has that name (standard input)",
    )
    parser.add_argument("--output", default="-", help="a CSV file (standard output)")
    parser.add_argument("--text_column", nargs="+", help="column of the text, or several (as in training, or guessed)")
    parser.add_argument("--text_pair_column", help="column of the second text of a pair (likewise)")
    parser.add_argument("--id_column", help="column of the id (likewise; else the row number)")
    parser.add_argument("--encoding", help="encoding of an input that is not UTF-8 (that of the training)")
    parser.add_argument("--delimiter", help="what parts the cells of a row (as in training)")
    parser.add_argument("--quoting", choices=QUOTINGS, help="as in training")
    parser.add_argument(
        "--no_header",
        nargs="?",
        const="true",
        choices=["true", "false"],
        help="as in training",
    )
    parser.add_argument("--max_length", type=int, help="tokens a text is cut to (what the model was trained with)")
    parser.add_argument("--bf16", choices=["true", "false"], help="compute in bfloat16 (where the device has it)")
    parser.add_argument("--trust_remote_code", action="store_true", help="let code that the model carries run")
    return parser.parse_args()


def say_notes(notes: list[str]) -> None:
    """Say what should be known of the rows; standard output is for the predictions."""
    from bert_recipes.terminal import printable

    for note in notes:
        print(printable(note), file=sys.stderr)


def main() -> None:
    from bert_recipes.inference.input_files import parted

    args = parse_arguments()
    args.input = parted(args.input)
    check_ranges({"max_length": args.max_length})
    process = this_process()
    if process.count > 1:
        check_files(args.input, args.output, process.count)
    # One process, too, goes on with the parts that several have left.
    elif "-" in (*args.input, args.output) or not parts_of(args.output).is_dir():
        predict(args)
        return
    leave_group()
    with taking_part(args.output) as folder:
        predict(args, process, folder)


def predict(args: argparse.Namespace, process: Process | None = None, folder: PartsFolder | None = None) -> None:
    """Predict all rows, or, of those that several processes share, this one's."""
    from bert_recipes.data.text_files import TextFormat
    from bert_recipes.inference.input_files import check_output
    from bert_recipes.inference.loading import load_predictor
    from bert_recipes.inference.parts import predict_in_parts
    from bert_recipes.inference.rows import InputRows, read_stream

    given = {name: getattr(args, name) for name in ("encoding", "delimiter", "quoting") if getattr(args, name)}
    if args.no_header:
        given["no_header"] = args.no_header == "true"
    check_output(args.output, args.input)
    if "-" in args.input and sys.stdin.isatty():
        print("Reading texts from the keyboard, a line each, until Ctrl-D; --input names a file.", file=sys.stderr)
    predictor = load_predictor(
        args.model,
        max_length=args.max_length,
        bf16=None if args.bf16 is None else args.bf16 == "true",
        trust_remote_code=args.trust_remote_code,
        process=process,
    )
    predictor.compute_side_by_side()
    reading = {
        "text_column": args.text_column,
        "text_pair_column": args.text_pair_column,
        "id_column": args.id_column,
        "trained_on": predictor.trained_on,
        "text_format": TextFormat.of(predictor.trained_on | given),
    }
    if process is not None and folder is not None:
        predict_in_parts(folder, predictor, InputRows(args.input, **reading), process)
    else:
        write(predictor, read_stream(args.input, **reading), args.output)


def write(predictor: "RowsPredictor", rows: Iterator["TextRow"], output: str) -> None:
    """Write the predictions of all rows, and say how many they are."""
    from bert_recipes.files import writing
    from bert_recipes.inference.rows_predictor import write_predictions
    from bert_recipes.terminal import printable, standard_output

    started, written = time.monotonic(), 0
    if output == "-":
        for _ in write_predictions(standard_output(), predictor, rows):
            sys.stdout.flush()
        say_notes(predictor.notes)
        return
    is_terminal = sys.stderr.isatty()
    with writing(Path(output).expanduser()) as file:
        for written in write_predictions(file, predictor, rows):
            rate = written / (time.monotonic() - started)
            if is_terminal:
                print(f"\r{written:,} rows, {rate:,.0f} a second", end="", file=sys.stderr, flush=True)
    if is_terminal:
        print(f"\r{' ' * 40}\r", end="", file=sys.stderr)
    print(f"{written:,} rows are in {printable(output)}.", file=sys.stderr)
    say_notes(predictor.notes)


if __name__ == "__main__":
    run_main(main, "nothing was written, and the same command goes on with a folder of finished parts")
