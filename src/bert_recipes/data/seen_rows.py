"""Rows that a model has been trained on before, and that are to validate it now."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bert_recipes.config.saved import METRICS_FILE, configuration_of_model
from bert_recipes.data.digests import text_digests
from bert_recipes.data.loading import TextData
from bert_recipes.files import read_json

SPLITS = ("train", "validation")


def seen_before(model: str, data: TextData, digests: Mapping[str, str]) -> str | None:
    """Return a sentence where a model may have been trained on rows that are to validate it now.

    It has not where the run that made it, and each run that this one began from in its turn, split the same data
    in the same way. A run that is not there any more tells nothing, nor what it began from.

    Args:
        model: as `--model` names it.
        data: of now.
        digests: of the splits of now.
    """
    if data.source.startswith("python:"):  # which names no rows
        return None
    for name, configuration in _runs_behind(model):
        if _is_of(configuration, data.source) and not _has_same_splits(name, data, digests):
            return _sentence(model, name)
    return None


def _runs_behind(model: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the run that made a model, the one that made what this began from, and so on; each with its name."""
    name, passed = model, set()
    while (place := Path(name).expanduser().resolve()) not in passed:
        passed.add(place)
        configuration = configuration_of_model(name)
        if not configuration:
            return
        yield name, configuration
        name = str(configuration.get("model", ""))


def _is_of(configuration: Mapping[str, Any], source: str) -> bool:
    """Whether a run was made of the data that `source` names, however the path of it is written."""
    named = configuration.get("dataset")
    if not isinstance(named, list) or len(named) != 1:
        return False
    one, other = (Path(str(name)).expanduser() for name in (*named, source))
    return str(named[0]) == source or (other.exists() and one.resolve() == other.resolve())


def _has_same_splits(name: str, data: TextData, digests: Mapping[str, str]) -> bool:
    folder = Path(name).expanduser()
    metrics = next((path for path in (folder / METRICS_FILE, folder.parent / METRICS_FILE) if path.is_file()), None)
    environment = read_json(metrics).get("environment", {}) if metrics else {}
    # Other labels, or another order of them, make no other splits; a run of an older version has no more to tell.
    there, now = environment.get("data", {}), digests
    if "texts" in environment:
        there, now = environment["texts"], text_digests(data)
    return all(split in there and there[split] == now.get(split) for split in SPLITS)


def _sentence(model: str, name: str) -> str:
    if name == model:
        whose = f"--model {model} was"
        remedy = "the --split_seed and --validation_size of its run give the same splits."
    else:
        whose = f"--model {model} began from {name}, which was"
        remedy = "begin from another model for scores that can be trusted."
    return (
        f"{whose} trained on this data in other splits: it may have seen rows that validate it now, and their scores "
        f"are then too good; {remedy}"
    )
