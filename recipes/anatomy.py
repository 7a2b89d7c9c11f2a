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
from bert_recipes.cli.parser import ScriptParser
from bert_recipes.errors import UserError, run_main

REPOSITORY = Path(__file__).parents[1]


def parse_arguments() -> argparse.Namespace:
    parser = ScriptParser(__doc__)
    parser.add_argument("--model", default="embedded:minilm", help="a Hub id, a folder, or embedded:minilm")
    parser.add_argument("--text", default="Forest fire near La Ronge Sask. Canada", help="the sentence to look at")
    parser.add_argument("--num_labels", type=int, default=5, help="labels of the stock model")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/anatomy"), help="where the pages go")
    parser.add_argument("--language", choices=LANGUAGES, default="en", help="of the terminal; pages come in both")
    return parser.parse_args()


def main():
    args = parse_arguments()
    from bert_recipes.console import console
    from transformers.utils import logging

    from bert_recipes.anatomy.markdown import markdown
    from bert_recipes.anatomy.page import page
    from bert_recipes.anatomy.stations import STATIONS
    from bert_recipes.anatomy.terminal import show_station, show_summary
    from bert_recipes.anatomy.tour import BROKEN, begin
    from bert_recipes.anatomy.traps import Launches, traps

    logging.set_verbosity_error()  # what the libraries say is the subject here, and is shown where it matters
    logging.disable_progress_bar()
    with Launches() as launches:
        tour = begin(args.model, args.text, args.num_labels, REPOSITORY)
        try:
            args.output_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--output_dir {args.output_dir} cannot be written: {error.strerror}.") from error
        stations = []
        for number, station in enumerate(STATIONS, start=1):
            stations.append(station(tour, launches) if station is traps else station(tour))
            show_station(console, number, stations[-1], args.language)
    for language, suffix in zip(LANGUAGES, ("", ".ko"), strict=True):
        for kind, render in (("md", markdown), ("html", page)):
            (args.output_dir / f"anatomy{suffix}.{kind}").write_text(
                render(tour, stations, language), encoding="utf-8"
            )
    show_summary(console, stations, args.output_dir / "anatomy.html", args.language)
    if any(station.verdict == BROKEN for station in stations):
        sys.exit(1)


if __name__ == "__main__":
    run_main(main)
