"""Which one is better, and is it really? Run recipes with several seeds on one split, and tell how they differ.

    python recipes/compare.py baseline stock custom --config recipes/configs/disaster_tweets.yaml
    python recipes/compare.py stock my-custom.yaml --seeds 1 2 3 4 5 --jobs 2 --output_dir runs/compare-mine
    python recipes/compare.py runs/stock runs/custom        two finished runs

What is compared: a recipe's name, which takes --config; a YAML file with a `recipe:` of its own, laid over --config;
or a finished run's folder, whose seed is one of its configuration's. Other flags go to every recipe. What is finished
is not made again, and what was interrupted goes on.
"""

import shlex
import sys
from pathlib import Path

from bert_recipes.cli.main import run_main
from bert_recipes.cli.parser import ScriptParser
from bert_recipes.config.help import command_name


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("what", nargs="+", help="names of recipes, YAML files or run folders, two or more")
    parser.add_argument("--config", type=Path, default=Path("recipes/configs/quickstart.yaml"), help="of the recipes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="one run of each with each")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once, each with its share of the cores")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/compare"), help="of the runs and the report")
    args, flags = parser.parse_known_args()  # other flags are the recipes'
    from bert_recipes.owned_folder import holding
    from bert_recipes.runs.comparison import (
        Compared,
        apart_from_corrections,
        compare_runs,
        comparison_folder,
        finished,
        make_runs,
        say_verdicts,
    )

    compared = [Compared.named(what, args.config, flags) for what in args.what]
    with holding(folder := comparison_folder(args.output_dir)):
        folder.remove_temporary_files()
        make_runs(compared, args.seeds, args.jobs, args.output_dir)
        groups, note = apart_from_corrections(finished(compared, args.seeds, args.output_dir))
        command = f"{command_name()} {shlex.join(sys.argv[1:])}"
        say_verdicts(groups, compare_runs(groups, args.output_dir, command, note), args.output_dir, note)


if __name__ == "__main__":
    run_main(main)
