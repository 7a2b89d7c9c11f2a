"""How rows are cut into splits and folds, so that copies of one text are never parted."""

import numpy as np
import pandas as pd
from datasets import Dataset
from sklearn.model_selection import StratifiedKFold, train_test_split

from bert_recipes.columns import LABELS, TEXT, TEXT_PAIR
from bert_recipes.errors import UserError
from bert_recipes.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL


def column(rows: Dataset, name: str) -> np.ndarray:
    """Return a column of numbers, `[rows]` or `[rows, num_labels]`, without a Python object for each."""
    return rows.with_format("numpy")[name][:]


def strata_of(labels: np.ndarray, problem_type: str) -> np.ndarray:
    """Return the stratum of each row, `[rows]`, so that parts cut by strata are alike in their labels.

    A class is a stratum. A row of several labels is in the stratum of its rarest one; a regression's strata are the
    deciles of its first target.
    """
    values = np.asarray(labels)
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


def split_off_validation(train: Dataset, size: float, seed: int, problem_type: str) -> tuple[Dataset, Dataset]:
    """Cut a validation split of about `size` of the rows from `train`; both keep the file's order.

    Distinct texts are drawn, stratified as `strata_of` says, so copies of one text always land on one side. A stratum
    with a single distinct text stays in train.

    Raises:
        UserError: there are too few distinct texts to cut from.
    """
    texts, first = distinct_texts(train)
    strata = strata_of(column(train, LABELS), problem_type)[first]
    if problem_type != SINGLE_LABEL:
        # Unlike classes, these strata only even things out: those of a single text are taken together.
        strata = np.where(np.bincount(strata)[strata] > 1, strata, strata.max() + 1)
    drawable = np.flatnonzero(np.bincount(strata)[strata] > 1)
    strata = strata[drawable]
    if problem_type != SINGLE_LABEL and size * len(drawable) < len(np.unique(strata)):
        strata = None  # too few rows to have one of each
    try:
        _, drawn = train_test_split(np.arange(len(drawable)), test_size=size, random_state=seed, stratify=strata)
    except ValueError as error:
        raise UserError(
            f"train has too few distinct texts ({len(first)}) to cut a validation split from: "
            f"give a validation file or another --validation_size ({error})."
        ) from error
    inside = np.isin(texts, drawable[drawn])
    return train.select(np.flatnonzero(~inside)), train.select(np.flatnonzero(inside))


def assign_folds(train: Dataset, k: int, seed: int, problem_type: str) -> np.ndarray:
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
