"""The model card of a run, which is also its README."""

import dataclasses
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData
from jinja2 import Environment, StrictUndefined

from bert_recipes.config.arguments import CustomArguments
from bert_recipes.config.reading import HEAD_TAIL, WINDOWS
from bert_recipes.data.normalization import normalization_in_words
from bert_recipes.errors import some
from bert_recipes.evaluation.titles import scores_table
from bert_recipes.modeling.losses import LOSSES
from bert_recipes.modeling.own_code import file_of, is_own_code
from bert_recipes.reporting.documents import how_it_ended, markdown_table
from bert_recipes.runs.settings import RunSettings
from bert_recipes.task import REGRESSION

F1_NOTE = {
    "binary": "F1, precision and recall are those of the second label.",
    "multi-class": "F1, precision and recall are macro averages over the labels.",
    "multi-label": "Accuracy is that of whole rows; F1, precision and recall are micro averages over all labels.",
}
# No text of anybody's data.
EXAMPLE, OTHER_EXAMPLE = "The text to classify.", "The second text of the pair."
MOST_OF_EXAMPLE = 3  # labels


def model_card(run: RunSettings, scores: dict[str, Any], where: str) -> str:
    """Return the card of a finished run, which quotes no row of the data and names no folder of this machine.

    Args:
        run: whose model it is.
        scores: what metrics.json is to hold.
        where: the model's folder as seen from the card, unless the model goes to the Hub.
    """
    regression = run.data.task.problem_type == REGRESSION
    header = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["bert-recipes", run.recipe],
        metrics=["mse", "pearsonr"] if regression else ["accuracy", "f1"],
    )
    names, *rows = scores_table(scores)
    names_of_labels = run.data.task.label_names
    environment = Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=StrictUndefined
    )
    template = files("bert_recipes.runs").joinpath("templates", "model_card.md").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        card_data=header.to_yaml(),
        recipe=run.recipe,
        model=_model(run),
        source=_public(run.data.source),
        splits=", ".join(f"{len(rows):,} rows of {split}" for split, rows in run.data.splits.items()),
        corrected=_corrected(run),
        task=run.data.task.name,
        labels=f"{'targets' if regression else 'labels'} {some([f'`{name}`' for name in names_of_labels], most=20)}",
        normalized=normalization_in_words(kinds) if (kinds := run.configuration["normalize"]) else None,
        long_texts=_long_texts(run) if run.model_dir else None,
        head_and_loss=_head_and_loss(run) if run.model_dir else None,
        carried=_carried_code(run),
        columns=run.configuration.get("extra_columns") or [],
        scores=markdown_table(names, rows),
        f1_note=F1_NOTE.get(run.data.task.name),
        how_validated=_how_validated(run, scores),
        **_how_to_load(run, where),
        versions=", ".join(f"{name} {version}" for name, version in scores["environment"]["versions"].items()),
    )


def _corrected(run: RunSettings) -> str | None:
    if run.data.corrections is None:
        return None
    changed = run.data.corrections.changed
    return ", ".join(f"{count:,} of {split}" for split, count in changed.items() if count) or "none"


def _model(run: RunSettings) -> str:
    if run.model_dir is None:
        return "TF-IDF of words and characters under a linear model"
    return f"`{_public(run.configuration['model'])}`, fine-tuned with seed {run.training.seed}"


def _long_texts(run: RunSettings) -> str:
    said = run.reading.in_words(run.max_length)
    if run.reading.long_texts in (HEAD_TAIL, WINDOWS):
        said += (
            f" A pipeline of transformers reads its first {run.max_length} tokens only: `bert_recipes.load(folder)` "
            "and `recipes/predict.py` read as the training did."
        )
    return said


def _how_validated(run: RunSettings, scores: dict[str, Any]) -> str:
    said = []
    if folds := run.configuration["folds"]:
        said.append(
            f"Validation rows are all rows of train, each predicted by the one of {folds} models (`folds/`) that "
            "was not trained on it; test predictions are the mean of theirs, as are those of `recipes/predict.py` "
            "with this folder as `--model`."
        )
    if run.configuration["refit"]:
        said.append(
            f"The model here was trained on all of these rows in the end, for {scores['refit']['epoch']:.3g} epochs, "
            "and has no scores of its own: those of the folds tell what to expect of it."
        )
    if run.keeps_the_best:
        said.append("The best checkpoint was chosen by its score on these rows, which makes it slightly optimistic.")
    else:
        said.append("No checkpoint was chosen by the rows that score it.")
    said += how_it_ended(run.configuration, scores)
    return " ".join(said)


def _public(name: str) -> str:
    """Return the name of a data set or a model without the folders of this machine in which it lies."""
    path = Path(name).expanduser()
    return path.resolve().name if path.exists() else name


def _how_to_load(run: RunSettings, where: str) -> dict[str, Any]:
    task = run.data.task
    # The pipeline of transformers calls the values of a regression by the names of its targets too.
    output = ", ".join(f"{{'label': {name!r}, 'score': …}}" for name in task.label_names[:MOST_OF_EXAMPLE])
    pair = run.data.columns.text_pair is not None
    return {
        "address": (run.push.repository if run.push else where) if run.model_dir else None,
        "is_folder": run.push is None,
        "max_length": run.max_length,
        # The folder of the custom recipe's model has the code of its architecture.
        "remote_code": run.recipe == "custom" or run.configuration["trust_remote_code"],
        "cells": repr({name: [None] for name in run.configuration.get("extra_columns") or ()}),
        "example_texts": ", ".join(map(repr, [EXAMPLE] + [OTHER_EXAMPLE] * pair)),
        "example": repr({"text": EXAMPLE, "text_pair": OTHER_EXAMPLE} if pair else EXAMPLE),
        "output": f"[{output}{', …' if task.num_labels > MOST_OF_EXAMPLE else ''}]",
    }


def _carried_code(run: RunSettings) -> tuple[str, str] | None:
    """Return what of the model is code of the user's own, and the name of its file."""
    specs = {part: run.configuration.get(part) or "" for part in ("classifier", "pooling")}
    return next(((part, file_of(spec).name) for part, spec in specs.items() if is_own_code(spec)), None)


def _head_and_loss(run: RunSettings) -> str:
    own = ", ".join(f"{key} `{value}`" for key, value in _own_choices(run).items())
    return own or "the stock model's own"


def _own_choices(run: RunSettings) -> dict[str, Any]:
    """Return what the custom recipe has of its own: classifier or pooling, loss, and all that is not as by default."""
    configuration = run.configuration
    if "pooling" not in configuration:
        return {}
    loss = configuration["loss"] or next(iter(LOSSES[run.data.task.problem_type]))
    # Where a file of the user's lies is nobody else's business.
    head = "pooling" if configuration["classifier"] is None else "classifier"
    made, loss = (Path(name).name if is_own_code(name) else name for name in (configuration[head], loss))
    others = {
        field.name: configuration[field.name]
        for field in dataclasses.fields(CustomArguments)
        if field.name not in ("model", head, "loss", "extra_columns") and configuration[field.name] != field.default
    }
    return {head: made, "loss": loss, **others}
