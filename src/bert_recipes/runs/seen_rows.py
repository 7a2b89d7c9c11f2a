"""Rows that a model has been trained on before, and that are to validate it now."""

from pathlib import Path

from bert_recipes.config.saved import METRICS_FILE, configuration_of_model
from bert_recipes.files import read_json
from bert_recipes.runs.settings import RunSettings

SPLITS = ("train", "validation")


def seen_before(run: RunSettings) -> str | None:
    """Return a sentence where a model that a run of the same data made may have seen the rows that validate it now.

    It has not where that run cut the data into the very same splits.

    Args:
        run: that begins from the model.
    """
    there = configuration_of_model(run.configuration["model"])
    data = run.configuration["dataset"]
    if not there or there.get("dataset") != data or data[0].startswith("python:"):  # which names no rows
        return None
    folder = Path(run.configuration["model"]).expanduser()
    metrics = next((path for path in (folder / METRICS_FILE, folder.parent / METRICS_FILE) if path.is_file()), None)
    splits = read_json(metrics)["environment"]["data"] if metrics else {}
    if all(split in splits and splits[split] == run.digests.get(split) for split in SPLITS):
        return None
    return (
        f"--model {run.configuration['model']} was trained on this data in other splits: it may have seen rows that "
        "validate it now, and their scores are then too good; the --split_seed and --validation_size of its run give "
        "the same splits."
    )
