"""The page with every flag of the recipes, docs/flags.md: `make flags-docs` writes it.

python -m bert_recipes.cli.flags > docs/flags.md
"""

import re

from bert_recipes.config.arguments import CustomArguments, DataArguments, StockArguments
from bert_recipes.config.defaults import DEFAULTS
from bert_recipes.config.help import Flag, flag_groups
from bert_recipes.config.unsupported import FIXED
from bert_recipes.reporting.documents import markdown_table

BEGIN = """# Every flag

Each flag is also a key of a YAML file (`--config`) and a keyword of `br.train`; flags win over the file. A flag that
does not exist is an error that names the nearest one, and so is a value that a recipe cannot honour: nothing that you
set is ignored. `--overwrite` replaces a finished run, `--debug` shows the traceback of an error.

`make flags-docs` writes this page; `python recipes/custom.py --help` prints the same.
"""
TITLES = {
    "data": "Data",
    "stock": "The model (stock and baseline)",
    "custom": "The model, the head and the loss (custom)",
    "training": "Training",
    "more training": "More of `TrainingArguments`",
}


def flags_page() -> str:
    """Return docs/flags.md."""
    parts = (DataArguments, StockArguments, CustomArguments)
    parts_of_page = [BEGIN]
    for group in flag_groups(parts, DEFAULTS | {"output_dir": "runs/<recipe>"}, FIXED):
        rows = [(f"`--{flag.name}`", f"`{flag.default}`" if flag.default else "", _text(flag)) for flag in group.flags]
        parts_of_page += [f"## {TITLES[group.title]}\n", markdown_table(["flag", "default", "what it does"], rows), ""]
    return "\n".join(parts_of_page)


def _text(flag: Flag) -> str:
    choices = f" (`{'`, `'.join(flag.choices)}`)" if flag.choices else ""
    # What transformers' own help has of HTML and of lists would be taken for such.
    said = re.split("(`[^`]*`)", f"{flag.text}{choices}".replace("%%", "%"))
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;").replace("*", "\\*") for part in said)


if __name__ == "__main__":
    print(flags_page(), end="")
