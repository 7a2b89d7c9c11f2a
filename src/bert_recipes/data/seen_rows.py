"""Rows that a model has been trained on before, and that are to validate it now."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bert_recipes.config.saved import METRICS_FILE, configuration_of_model
from bert_recipes.files import read_json

SPLITS = ("train", "validation")


def seen_before(model: str, source: str, digests: Mapping[str, str]) -> str | None:
    """Return a sentence where a model may have been trained on rows that are to validate it now.

    It has not where the run that made it, and each run that this one began from in its turn, split the same data
    in the same way. A run that is not there any more tells nothing, nor what it began from.

    Args:
        model: as `--model` names it.
        source: of the data of now, as `TextData.source`.
        digests: of the splits of now.
    """
    if source.startswith("python:"):  # which names no rows
        return None
    for name, configuration in _runs_behind(model):
        if configuration.get("dataset") == [source] and not _has_same_splits(name, digests):
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


def _has_same_splits(name: str, digests: Mapping[str, str]) -> bool:
    folder = Path(name).expanduser()
    metrics = next((path for path in (folder / METRICS_FILE, folder.parent / METRICS_FILE) if path.is_file()), None)
    there = read_json(metrics).get("environment", {}).get("data", {}) if metrics else {}
    return all(split in there and there[split] == digests.get(split) for split in SPLITS)


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
