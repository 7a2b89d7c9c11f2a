"""The data of a finished run, read again."""

import dataclasses
from pathlib import Path
from typing import Any

from bert_recipes.config.arguments import DataArguments
from bert_recipes.config.saved import METRICS_FILE, places_of, saved_configuration
from bert_recipes.data.digests import digests
from bert_recipes.data.loading import TextData, load_data
from bert_recipes.errors import UserError
from bert_recipes.files import read_json

# Of the configuration, what names files.
FILES = ("dataset", "train_file", "validation_file", "test_file", "corrections")


def read_again(folder: Path) -> TextData:
    """Return the data of the finished run in `folder`, from where it was.

    Files are looked for as they were named: from the working directory, or else from a folder above the run.

    Raises:
        UserError: it is not there any more, its rows are not what they were, or it was given from Python.
    """
    configuration = saved_configuration(folder)
    source = configuration.get("dataset") or []
    if any(str(name).startswith("python:") for name in source):
        raise UserError(
            f"{folder} was trained on rows given from Python ({source[0]}), which cannot be read again: write them to "
            "a file, and train on that."
        )
    configuration |= {key: _found(configuration[key], folder) for key in FILES if configuration.get(key)}
    names = {field.name for field in dataclasses.fields(DataArguments)}
    try:
        data = load_data(DataArguments(**{name: value for name, value in configuration.items() if name in names}))
    except (UserError, ValueError) as error:
        raise UserError(f"the data of {folder} cannot be read again: {str(error).rstrip('.')}.") from error
    there = read_json(folder / METRICS_FILE).get("environment", {}).get("data", {})
    if differ := [split for split, digest in digests(data).items() if there.get(split) != digest]:
        raise UserError(
            f"the data of {folder} are not what they were, in the rows of {' and '.join(differ)}: give back the files "
            "of then, or train on these."
        )
    return data


def _found(named: Any, folder: Path) -> Any:
    if isinstance(named, list):
        return [_found(one, folder) for one in named]
    here, *above = places_of(str(named), folder)
    return named if here.exists() else next((str(place) for place in above if place.exists()), named)
