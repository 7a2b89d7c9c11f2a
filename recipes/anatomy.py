"""Take the stock and the plain model apart, station by station, on the installed versions.

    python recipes/anatomy.py
    python recipes/anatomy.py --model google-bert/bert-base-uncased --text "Our deeds are the reason" --num_labels 2

    python recipes/anatomy.py --pause          one station at a time, on Enter
    python recipes/anatomy.py --station 4 9    these stations alone

Every station makes a claim, shows the code that checks it, runs it, and ends in `holds` or in what happens instead.
The same as a page with pictures: anatomy.html (anatomy.ko.html in Korean) in --output_dir. The exit status is 1 where
a claim fails that this project relies on.
"""

import argparse
import contextlib
import sys
from pathlib import Path

from bert_recipes.anatomy import LANGUAGES
from bert_recipes.cli.main import run_main
from bert_recipes.cli.parser import ScriptParser
from bert_recipes.errors import UserError

# What the pages are called: with the suffix of their language.
SUFFIXES = dict(zip(LANGUAGES, ("", ".ko"), strict=True))
DOCS = Path(__file__).parents[1] / "docs"


def parse_arguments() -> argparse.Namespace:
    parser = ScriptParser(__doc__)
    parser.add_argument("--model", default="embedded:minilm", help="a Hub id, a folder, or embedded:minilm")
    parser.add_argument("--text", help="the sentence to look at (default: one in the script of the vocabulary)")
    parser.add_argument("--num_labels", type=int, default=5, help="labels of the stock model")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/anatomy"), help="where the pages go")
    parser.add_argument("--language", choices=LANGUAGES, default="en", help="of the terminal; pages come in both")
    parser.add_argument("--station", type=int, nargs="+", metavar="N", help="visit these stations alone")
    parser.add_argument("--pause", action="store_true", help="wait for Enter after each station")
    parser.add_argument("--write_docs", action="store_true", help="put the tour into docs/anatomy*.md, if it holds")
    return parser.parse_args()


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output_dir {folder} cannot be written: {error.strerror}.") from error


def write(pages: dict[str, str], folder: Path) -> None:
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")


def chosen(numbers: list[int] | None, count: int) -> list[int]:
    """Return the numbers of the stations to visit, in their order."""
    if numbers is None:
        return list(range(1, count + 1))
    beyond = [number for number in numbers if not 1 <= number <= count]
    if beyond:
        raise UserError(f"--station {beyond[0]}: the stations are numbered 1 to {count}.")
    return sorted(set(numbers))


def check(args: argparse.Namespace) -> None:
    if args.write_docs and not DOCS.is_dir():
        raise UserError(f"--write_docs: there is no {DOCS}: it works in a clone of the repository only.")
    if args.write_docs and args.station:
        raise UserError("--write_docs records the whole tour: leave out --station.")
    if args.pause and not sys.stdin.isatty():
        raise UserError("--pause waits for Enter, and the standard input is no terminal: leave it out.")


def main() -> None:
    args = parse_arguments()
    check(args)
    from transformers.utils import logging

    from bert_recipes.anatomy.markdown import markdown
    from bert_recipes.anatomy.page import page
    from bert_recipes.anatomy.stations import STATIONS
    from bert_recipes.anatomy.terminal import show_station, show_summary, wait
    from bert_recipes.anatomy.tour import BROKEN, Station, begin
    from bert_recipes.anatomy.traps import Launches, traps
    from bert_recipes.terminal import console

    logging.set_verbosity_error()  # what the libraries say is the subject here, and is shown where it matters
    logging.disable_progress_bar()
    visits = {number: STATIONS[number - 1] for number in chosen(args.station, len(STATIONS))}
    stations: dict[int, Station] = {}
    with Launches() if traps in visits.values() else contextlib.nullcontext() as launches:
        tour = begin(args.model, args.text, args.num_labels)
        make_folder(args.output_dir)
        for number, station in visits.items():
            if args.pause and stations:
                wait(console, args.language)
            stations[number] = station(tour, launches) if station is traps else station(tour)
            show_station(console, number, stations[number], args.language)
    pages = {}
    for language, suffix in SUFFIXES.items():
        pages[f"anatomy{suffix}.md"] = markdown(tour, stations, language)
        pages[f"anatomy{suffix}.html"] = page(tour, stations, language)
    write(pages, args.output_dir)
    show_summary(console, list(stations.values()), args.output_dir / "anatomy.html", args.language)
    if any(station.verdict == BROKEN for station in stations.values()):
        sys.exit(1)
    if args.write_docs:
        write({name: text for name, text in pages.items() if name.endswith(".md")}, DOCS)


if __name__ == "__main__":
    run_main(main)
