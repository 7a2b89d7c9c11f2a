"""How rows are cut into splits and folds, so that copies of one text are never parted."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from datasets import Dataset
from sklearn.model_selection import StratifiedKFold, train_test_split

from bert_recipes.columns import LABELS, TEXT, TEXT_PAIR
from bert_recipes.data.cells import in_order
from bert_recipes.errors import UserError
from bert_recipes.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Task


def column(rows: Dataset, name: str) -> np.ndarray:
    """Return a column of numbers, `[rows]` or `[rows, num_labels]`, without a Python object for each."""
    kind = rows.features[name]
    # By itself datasets makes float32 of any real number, which is not the label that the file has.
    return rows.with_format("numpy", dtype=getattr(kind, "feature", kind).dtype)[name][:]


def label_order(task: Task) -> list[int] | None:
    """Return the labels' numbers in the order of their names, so that another order of the labels cuts alike.

    None where the data itself numbers them, as the places in a list do.
    """
    of_lists = len(task.columns) == 1 and (task.multi_hot or task.problem_type == REGRESSION)
    return None if of_lists else [task.label2id[name] for name in in_order(task.label_names)]


def strata_of(labels: np.ndarray, problem_type: str, order: Sequence[int] | None = None) -> np.ndarray:
    """Return the stratum of each row, `[rows]`, so that parts cut by strata are alike in their labels.

    A class is a stratum. A row of several labels is in the stratum of its rarest one; a regression's strata are the
    deciles of its first target. `order` is what `label_order` returns, and says which are the first.
    """
    values = np.asarray(labels)
    if order is not None:
        values = values[:, order] if values.ndim == 2 else np.argsort(order)[values]
    if problem_type == MULTI_LABEL:
        rarest_first = np.argsort(values.sum(axis=0), kind="stable")
        ranked = values[:, rarest_first] > 0
        return np.where(ranked.any(axis=1), ranked.argmax(axis=1), values.shape[1])
    if problem_type == REGRESSION:
        edges = np.unique(np.quantile(values[:, 0], np.linspace(0.1, 0.9, 9)))
        return np.digitize(values[:, 0], edges)
    return values


def distinct_texts(rows: Dataset, at_once: int = 10_000) -> tuple[np.ndarray, np.ndarray]:
    """Number the distinct texts, or pairs of texts, in the order in which they appear.

    Texts are told apart by a 64-bit hash, so that none is held: among a million the chance that two share one is
    3e-8, and those two would merely be taken for copies.

    Returns:
        The number of each row's text, `[rows]`, and the first row of each text, `[texts]`.
    """
    names = [name for name in (TEXT, TEXT_PAIR) if name in rows.column_names]
    frames = rows.select_columns(names).with_format("pandas")
    hashes = np.concatenate(
        [
            pd.util.hash_pandas_object(frames[start : start + at_once], index=False, categorize=False).to_numpy()
            for start in range(0, len(rows), at_once)
        ]
    )
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    appearance = np.argsort(first)
    number = np.empty_like(appearance)
    number[appearance] = np.arange(len(first))
    return number[inverse], first[appearance]


def split_off_validation(
    train: Dataset,
    size: float,
    seed: int,
    problem_type: str,
    order: Sequence[int] | None = None,
    labels: np.ndarray | None = None,
) -> tuple[Dataset, Dataset]:
    """Cut a validation split of about `size` of the rows from `train`; both keep the file's order.

    Distinct texts are drawn, stratified as `strata_of` says, so copies of one text always land on one side. No class
    is left without a text in train. Where there are too few texts to draw one of every class, they are drawn as evenly
    as can be. `labels` are those to draw by, where they are others than those of `train`.

    Raises:
        UserError: there are too few distinct texts to cut from.
    """
    texts, first = distinct_texts(train)
    labels = column(train, LABELS) if labels is None else labels
    strata = strata_of(labels, problem_type, order)[first]
    if problem_type != SINGLE_LABEL:
        # Unlike classes, these strata only even things out: those of a single text are taken together.
        strata = np.where(np.bincount(strata)[strata] > 1, strata, strata.max() + 1)
    drawable = np.flatnonzero(np.bincount(strata)[strata] > 1)
    drawn = _drawn(strata[drawable], size, seed, problem_type)
    inside = np.isin(texts, drawable[drawn])
    if problem_type == SINGLE_LABEL:
        inside &= ~np.isin(texts, _texts_of_lost_classes(labels, texts, inside))
    if not inside.any():
        raise UserError(
            f"train has too few distinct texts ({len(first)}) to cut a validation split from, since a label with one "
            "text keeps it: give a validation file, or more rows."
        )
    return train.select(np.flatnonzero(~inside)), train.select(np.flatnonzero(inside))


def _drawn(strata: np.ndarray, size: float, seed: int, problem_type: str) -> np.ndarray:
    """Return which of these are drawn, each given by its stratum; of a stratum never all."""
    counts = np.bincount(strata)
    counts = counts[counts > 0]
    wanted = math.ceil(size * len(strata))
    every = None if problem_type != SINGLE_LABEL and size * len(strata) < len(counts) else strata
    if min(wanted, len(strata) - wanted) >= (1 if every is None else max(len(counts), 1)):
        return train_test_split(np.arange(len(strata)), test_size=size, random_state=seed, stratify=every)[1]
    generator = np.random.default_rng(seed)
    _, strata = np.unique(strata, return_inverse=True)
    places = _shared_out(wanted, counts, generator)
    order = generator.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]  # each stratum's own, shuffled
    rank = np.arange(len(strata)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[rank < np.repeat(places, counts)]


def _shared_out(wanted: int, counts: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Share places out among strata by their sizes `[strata]`, by largest remainder; one of each is always left."""
    exact = wanted * counts / max(counts.sum(), 1)
    places = np.minimum(np.floor(exact).astype(int), counts - 1)
    while places.sum() < wanted and (places < counts - 1).any():
        open_strata = np.flatnonzero(places < counts - 1)
        open_strata = generator.permutation(open_strata)  # so that among equals the seed decides
        by_remainder = open_strata[np.argsort(places[open_strata] - exact[open_strata], kind="stable")]
        places[by_remainder[: wanted - places.sum()]] += 1
    return places


def _texts_of_lost_classes(labels: np.ndarray, texts: np.ndarray, inside: np.ndarray) -> list[int]:
    """Return a drawn text of each class that only drawn texts have, as where copies of a text bear other labels."""
    lost = np.setdiff1d(labels[inside], labels[~inside])
    return [int(texts[labels == label][0]) for label in lost]


def assign_folds(
    train: Dataset,
    k: int,
    seed: int,
    problem_type: str,
    order: Sequence[int] | None = None,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """Return the fold of each row of `train`, `[rows]`, from 0.

    Distinct texts are dealt, stratified as `strata_of` says, so that all copies of one are in one fold. A class of
    fewer texts than folds is dealt to as many folds as it has texts, and some folds are validated without it; where
    several labels may hold, what is rarer than `k` is dealt with the most frequent. `labels` are those to deal by,
    where they are others than those of `train`.

    Raises:
        UserError: there are fewer than `k` distinct texts.
    """
    texts, first = distinct_texts(train)
    if len(first) < k:
        raise UserError(f"--folds {k}: train has {len(first)} distinct texts: take fewer folds.")
    strata = strata_of(column(train, LABELS) if labels is None else labels, problem_type, order)[first]
    counts = np.bincount(strata)
    if problem_type == SINGLE_LABEL and ((counts > 1) & (counts < k)).any():
        return _dealt(strata, k, seed)[texts]
    strata = np.where(counts[strata] < k, counts.argmax(), strata)
    if np.bincount(strata).max() < k:
        strata = np.zeros_like(strata)
    fold_of_text = np.empty(len(first), dtype=int)
    for fold, (_, inside) in enumerate(StratifiedKFold(k, shuffle=True, random_state=seed).split(first, strata)):
        fold_of_text[inside] = fold
    return fold_of_text[texts]


def _dealt(strata: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Deal each stratum's texts, shuffled, to one fold after the other: neither they nor the folds pile up."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(strata))
    order = order[np.argsort(strata[order], kind="stable")]
    folds = np.empty(len(strata), dtype=int)
    folds[order] = generator.permutation(k)[np.arange(len(strata)) % k]
    return folds
