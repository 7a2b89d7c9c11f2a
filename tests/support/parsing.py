"""The command line of a recipe, and a configuration file for it."""

from bert_recipes.config.arguments import RECIPES
from bert_recipes.config.parsing import parse_arguments


def parse(*argv, recipe="custom"):
    return parse_arguments(RECIPES[recipe], "", recipe, list(argv))


def config(tmp_path, text):
    """Write a configuration; return the flag and the path that name it."""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return "--config", str(path)
