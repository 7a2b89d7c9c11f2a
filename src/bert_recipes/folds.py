"""Cross-validation: k runs, each validated on rows that it was not trained on, pooled into one run folder."""

import copy
import dataclasses
import shutil
from collections.abc import Iterator

import numpy as np
from accelerate import PartialState
from datasets import DatasetDict
from sklearn.model_selection import StratifiedKFold

from bert_recipes import console
from bert_recipes.arguments import Arguments
from bert_recipes.data import LABELS, TextData, column, distinct_texts, strata_of
from bert_recipes.errors import UserError
from bert_recipes.run import Run


def runs(args: Arguments, data: TextData, tokenized: DatasetDict, source: str | None) -> Iterator[Run]:
    """Yield the runs that are still to be made, none of them open yet: one, or with `--folds k` up to k.

    Once all folds are finished their out-of-fold predictions and the mean of their test probabilities become those of
    the run folder itself.

    Args:
        args: of the recipe.
        data: what `load_data` returned.
        tokenized: what `tokenize` returned.
        source: the folder of the pretrained model, or None where there is none.

    Raises:
        UserError: as `Run`; or train has too few distinct texts for so many folds.
    """
    whole = Run(args, data, tokenized, source)
    k = args.data.folds
    if not k:
        yield whole
        return
    fold_of = assign_folds(data.splits["train"], k, args.data.split_seed, data.labels.problem_type)
    parts = []
    for fold in range(k):
        training = copy.copy(args.training)
        training.output_dir = str(whole.folder / "folds" / str(fold + 1))
        own = dataclasses.replace(args, training=training)
        inside = fold_of == fold
        part = Run(own, _cut(data, inside), _cut(tokenized, inside), source, whole=whole)
        parts.append(part)
        finished = (part.folder / "metrics.json").is_file()
        # The first fold that is opened replaces what is there, if that was asked for.
        if finished and (whole.is_open or not args.training.overwrite):
            console.say(f"Fold {fold + 1} of {k} is finished already.")
            continue
        part.title = f"Fold {fold + 1} of {k}"
        yield part
        if PartialState().is_main_process:
            # What a resume needs; a finished fold needs none, and k times that would fill a disk.
            shutil.rmtree(part.folder / "checkpoints", ignore_errors=True)
    whole.pool(parts, fold_of)


def assign_folds(train, k: int, seed: int, problem_type: str) -> np.ndarray:
    """Return the fold of each row of `train`, `[rows]`, from 0.

    Distinct texts are dealt, stratified as `strata_of` says, so that all copies of one are in one fold. What is rarer
    than `k` is dealt with the most frequent: some folds are then validated without it.

    Raises:
        UserError: there are fewer than `k` distinct texts.
    """
    texts, first = distinct_texts(train)
    if len(first) < k:
        raise UserError(f"--folds {k}: train has {len(first)} distinct texts: take fewer folds.")
    strata = strata_of(column(train, LABELS), problem_type)[first]
    counts = np.bincount(strata)
    strata = np.where(counts[strata] < k, counts.argmax(), strata)
    if np.bincount(strata).max() < k:
        strata = np.zeros_like(strata)
    fold_of_text = np.empty(len(first), dtype=int)
    for fold, (_, inside) in enumerate(StratifiedKFold(k, shuffle=True, random_state=seed).split(first, strata)):
        fold_of_text[inside] = fold
    return fold_of_text[texts]


def _cut(data: TextData | DatasetDict, inside: np.ndarray) -> TextData | DatasetDict:
    if isinstance(data, TextData):
        return dataclasses.replace(data, splits=_cut(data.splits, inside), sample_submission=None, notes=[])
    train = data["train"]
    parts = {"train": train.select(np.flatnonzero(~inside)), "validation": train.select(np.flatnonzero(inside))}
    return DatasetDict(parts | ({"test": data["test"]} if "test" in data else {}))
