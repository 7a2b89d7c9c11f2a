"""Cross-validation: k runs, each validated on rows that it was not trained on, pooled into one run folder."""

import dataclasses
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
from accelerate import PartialState
from datasets import DatasetDict

from bert_recipes import terminal
from bert_recipes.columns import FOLD
from bert_recipes.config.parsing import Arguments
from bert_recipes.data.loading import TextData
from bert_recipes.evaluation.decoding import mean_probabilities
from bert_recipes.evaluation.prediction_files import Predictions, read_probabilities
from bert_recipes.files import read_json
from bert_recipes.runs.refit import Refit
from bert_recipes.runs.run import Run
from bert_recipes.training.callbacks import with_own_objects


def runs(args: Arguments[Any], data: TextData, tokenized: DatasetDict, model_dir: str | None) -> Iterator[Run]:
    """Yield the runs that are still to be made, none of them open yet: one, or with `--folds k` up to k.

    Once all folds are finished their out-of-fold predictions and the mean of their test probabilities become those of
    the run folder itself. With `--refit` a training on all rows comes last.

    Args:
        args: of the recipe.
        data: what `load_data` returned.
        tokenized: what `tokenize` returned.
        model_dir: the folder of the pretrained model, or None where there is none.

    Raises:
        UserError: as `Run`; or train has too few distinct texts for so many folds.
    """
    whole = Run(args, data, tokenized, model_dir)
    k = args.data.folds
    if not k:
        yield whole
        return
    fold_of = data.folds(k, args.data.split_seed)
    parts = []
    for fold in range(k):
        training = with_own_objects(args.training)
        training.output_dir = str(whole.folder.fold(fold + 1).path)
        training.push_to_hub = False  # which is for the whole run to do
        own = dataclasses.replace(args, training=training)
        inside = fold_of == fold
        part = Run(own, _part_of(data, inside), _cut(tokenized, inside), model_dir, whole=whole)
        parts.append(part)
        # The first fold that is opened replaces what is there, if that was asked for.
        if part.folder.is_finished and (whole.is_open or not args.training.overwrite):
            terminal.say(f"Fold {fold + 1} of {k} is finished already.")
            whole.folder.check_same_run(whole.configuration)
            part.folder.check_same_data(read_json(part.folder.metrics_file)["environment"]["data"], part.digests)
        else:
            part.title = f"Fold {fold + 1} of {k}"
            yield part
        _drop_checkpoints(part)
    whole.open()
    refit = Refit(args, tokenized, whole, parts) if args.data.refit else None
    if refit:
        if not refit.is_done:
            yield refit
        _drop_checkpoints(refit)
    if PartialState().is_main_process:
        _pool(whole, parts, fold_of, refit)
    PartialState().wait_for_everyone()


def _drop_checkpoints(part: Run) -> None:
    if PartialState().is_main_process:
        # What a resume needs; a finished fold needs none, and k times that would fill a disk.
        shutil.rmtree(part.folder.checkpoints, ignore_errors=True)


def _part_of(data: TextData, inside: np.ndarray) -> TextData:
    return dataclasses.replace(data, splits=_cut(data.splits, inside), sample=None, notes=[])


def _cut(splits: DatasetDict, inside: np.ndarray) -> DatasetDict:
    train = splits["train"]
    parts = {"train": train.select(np.flatnonzero(~inside)), "validation": train.select(np.flatnonzero(inside))}
    return DatasetDict(parts | ({"test": splits["test"]} if "test" in splits else {}))


def _pool(whole: Run, parts: list[Run], fold_of: np.ndarray, refit: Refit | None) -> None:
    """Make the finished folds' out-of-fold predictions and their mean test probabilities those of the whole run.

    Args:
        whole: the run of all folds, open.
        parts: the folds.
        fold_of: the fold of each training row `[rows]`, from 0.
        refit: the training on all rows, done, if there is one.
    """
    task = whole.data.task
    probabilities = np.zeros((len(fold_of), task.num_labels))
    losses = np.zeros(len(fold_of))
    scores = []
    for fold, part in enumerate(parts):
        found = Predictions.read(part.folder.path, task.label_names, task.problem_type)
        probabilities[fold_of == fold], losses[fold_of == fold] = found.probabilities, found.losses
        scores.append(read_json(part.folder.metrics_file))
    validation = whole.predictions("train", probabilities, losses)
    validation.columns[FOLD] = (fold_of + 1).tolist()
    test = None
    if "test" in whole.data.splits:
        of_folds = [read_probabilities(part.folder.path, task.label_names, task.problem_type) for part in parts]
        test = mean_probabilities(of_folds)
    pooled: dict[str, Any] = {
        "train": _pooled_cost([s["train"] for s in scores]),
        "folds": [s["validation"] for s in scores],
    }
    if refit:
        pooled["refit"] = refit.scores
    whole.write(pooled, validation, test)


def _pooled_cost(train: list[dict[str, Any]]) -> dict[str, float]:
    total = {k: sum(t[k] for t in train) for k in ("train_runtime",) if all(k in t for t in train)}
    mean = {
        k: float(np.mean([t[k] for t in train]))
        for k in ("train_loss", "train_samples_per_second", "train_tokens_per_second")
        if all(k in t for t in train)
    }
    most = {k: max(t[k] for t in train) for k in ("peak_memory_mib", "peak_gpu_memory_mib") if k in train[0]}
    return total | mean | most
