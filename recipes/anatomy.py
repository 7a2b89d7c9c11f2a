"""Take the stock and the plain model apart, station by station, on the installed versions.

    python recipes/anatomy.py
    python recipes/anatomy.py --model google-bert/bert-base-uncased --text "Our deeds are the reason" --num_labels 2

Every station makes a claim, shows the code that checks it, runs it, and ends in `holds` or in what happens instead.
The same as a page with pictures: anatomy.html (anatomy.ko.html in Korean) in --output_dir. The exit status is 1 where
a claim fails that this project relies on.
"""

import argparse
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
    parser.add_argument("--text", default="Forest fire near La Ronge Sask. Canada", help="the sentence to look at")
    parser.add_argument("--num_labels", type=int, default=5, help="labels of the stock model")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/anatomy"), help="where the pages go")
    parser.add_argument("--language", choices=LANGUAGES, default="en", help="of the terminal; pages come in both")
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


def main() -> None:
    args = parse_arguments()
    if args.write_docs and not DOCS.is_dir():
        raise UserError(f"--write_docs: there is no {DOCS}: it works in a clone of the repository only.")
    from transformers.utils import logging

    from bert_recipes.anatomy.markdown import markdown
    from bert_recipes.anatomy.page import page
    from bert_recipes.anatomy.stations import STATIONS
    from bert_recipes.anatomy.terminal import show_station, show_summary
    from bert_recipes.anatomy.tour import BROKEN, begin
    from bert_recipes.anatomy.traps import Launches, traps
    from bert_recipes.terminal import console

    logging.set_verbosity_error()  # what the libraries say is the subject here, and is shown where it matters
    logging.disable_progress_bar()
    with Launches() as launches:
        tour = begin(args.model, args.text, args.num_labels)
        make_folder(args.output_dir)
        stations = []
        for number, station in enumerate(STATIONS, start=1):
            stations.append(station(tour, launches) if station is traps else station(tour))
            show_station(console, number, stations[-1], args.language)
    pages = {}
    for language, suffix in SUFFIXES.items():
        pages[f"anatomy{suffix}.md"] = markdown(tour, stations, language)
        pages[f"anatomy{suffix}.html"] = page(tour, stations, language)
    write(pages, args.output_dir)
    show_summary(console, stations, args.output_dir / "anatomy.html", args.language)
    if any(station.verdict == BROKEN for station in stations):
        sys.exit(1)
    if args.write_docs:
        write({name: text for name, text in pages.items() if name.endswith(".md")}, DOCS)


if __name__ == "__main__":
    run_main(main)
