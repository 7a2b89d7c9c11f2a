"""Which rows of the data are likely wrong? Labels, clashing copies, leaks between splits, and broken texts.

    python recipes/audit.py --config recipes/configs/disaster_tweets.yaml --quick
    python recipes/audit.py --dataset my.csv --output_dir runs/audit-mine

Every labelled row is predicted by models that were not trained on it: the baseline, in folds that are cut several
times, and unless --quick the custom recipe, in folds too. What they say against the labels goes into audit.csv, the
most suspicious first; audit.json has the numbers of it. Other flags are those of the custom recipe.
"""

from pathlib import Path

from bert_recipes.cli.main import run_main
from bert_recipes.config.arguments import AuditArguments
from bert_recipes.config.parsing import Arguments, parse_arguments


def audit(args: Arguments[AuditArguments]) -> Path:
    from bert_recipes.data.loading import load_uncut
    from bert_recipes.runs.audit import Audit

    return Audit(args, load_uncut(args.data)).write()


def main() -> None:
    audit(parse_arguments(AuditArguments, __doc__))


if __name__ == "__main__":
    run_main(main)
