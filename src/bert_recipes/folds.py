"""Cross-validation: k runs, each validated on rows that it was not trained on, pooled into one run folder."""

import copy
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from accelerate import PartialState
from datasets import DatasetDict
from sklearn.model_selection import StratifiedKFold

from bert_recipes import console
from bert_recipes.arguments import Arguments
from bert_recipes.data import LABELS, TEXT, TEXT_PAIR, TextData
from bert_recipes.errors import UserError
from bert_recipes.run import Run


def runs(args: Arguments, data: TextData, tokenized: DatasetDict, source: str | None) -> Iterator[Run]:
    """Open the run folder and yield the runs that are still to be trained: one, or with `--folds k` up to k.

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
    k = args.data.folds
    if not k:
        yield Run(args, data, tokenized, source)
        return
    fold_of = assign_folds(data.splits["train"], k, args.data.split_seed)
    training = copy.copy(args.training)
    whole = Run(args, data, tokenized, source)
    parts = []
    for fold in range(k):
        args.training = copy.copy(training)
        args.training.output_dir = str(whole.folder / "folds" / str(fold + 1))
        part = Run(args, *(_cut(x, fold_of == fold) for x in (data, tokenized)), source, whole=whole)
        parts.append(part)
        if part.finished:
            console.say(f"Fold {fold + 1} of {k} is finished already.")
        else:
            console.say(f"Fold {fold + 1} of {k}", style="bold")
            yield part
            if PartialState().is_main_process:
                # What a resume needs; a finished fold needs none, and k times that would fill a disk.
                shutil.rmtree(Path(args.training.output_dir), ignore_errors=True)
    whole.pool(parts, fold_of)


def assign_folds(train, k: int, seed: int) -> np.ndarray:
    """Return the fold of each row of `train`, `[rows]`, from 0.

    Distinct texts are dealt, stratified by the label of their first copy, so that all copies are in one fold.

    Raises:
        UserError: there are fewer than `k` distinct texts of every label.
    """
    keys = list(zip(train[TEXT], train[TEXT_PAIR], strict=True)) if TEXT_PAIR in train.column_names else train[TEXT][:]
    first: dict = {}
    for key, label in zip(keys, train[LABELS], strict=True):
        first.setdefault(key, label)
    labels = np.array(list(first.values()))
    counts = np.bincount(labels)
    if counts.max() < k:
        raise UserError(f"--folds {k}: no label of train has {k} distinct texts: take fewer folds.")
    rare = [label for label, count in enumerate(counts) if 0 < count < k]
    fold_of = {}
    texts = np.array(list(first), dtype=object) if TEXT_PAIR not in train.column_names else list(first)
    # A label rarer than k is dealt with the most frequent one: some folds are validated without it.
    strata = np.where(np.isin(labels, rare), counts.argmax(), labels)
    for fold, (_, inside) in enumerate(
        StratifiedKFold(k, shuffle=True, random_state=seed).split(np.zeros(len(labels)), strata)
    ):
        fold_of |= {texts[i]: fold for i in inside}
    return np.array([fold_of[key] for key in keys])


def _cut(data: TextData | DatasetDict, inside: np.ndarray) -> TextData | DatasetDict:
    if isinstance(data, TextData):
        return dataclasses.replace(data, splits=_cut(data.splits, inside), sample_submission=None, notes=[])
    train = data["train"]
    parts = {"train": train.select(np.flatnonzero(~inside)), "validation": train.select(np.flatnonzero(inside))}
    return DatasetDict(parts | ({"test": data["test"]} if "test" in data else {}))
