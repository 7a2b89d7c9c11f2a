"""Which rows make up an optimizer step, and how a step is dealt to processes and micro-batches.

The order of an epoch depends on the seed, the epoch and the size of a whole step alone. So the same rows meet in the
same step whether it is cut into one batch or into many, on one process or on many, and after an interruption too.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from transformers import DataCollatorWithPadding

from bert_recipes.columns import COUNT, NUM_WINDOWS
from bert_recipes.modeling.own_classifier import encode_cells

# Rows of like length are looked for among those of this many steps: enough to pad tweets by about 2 %, few enough that
# rows of like length meet in ever other company.
POOLED_STEPS = 100


class StepBatches(Sampler[list[int]]):
    """The micro-batches of one process, epoch by epoch.

    Every process gets the same number of micro-batches. Where the last step of an epoch has too few rows for all of
    them, some are empty lists, which `StandInCollator` turns into a row that counts nothing.

    Args:
        rows: number of rows in the training split.
        micro_batch_size: most rows of one forward pass on one process.
        accumulation: micro-batches of one process in a whole step.
        processes: number of processes.
        process: which of them this is.
        seed: of the order.
        strategy: `random`, `sequential` or `group_by_length`.
        lengths: tokens of each row, for `group_by_length`.
        drop_last: leave out the rows that do not fill a step.
    """

    def __init__(
        self,
        rows: int,
        *,
        micro_batch_size: int,
        accumulation: int = 1,
        processes: int = 1,
        process: int = 0,
        seed: int = 0,
        strategy: str = "random",
        lengths: np.ndarray | None = None,
        drop_last: bool = False,
    ):
        self.step_size = micro_batch_size * accumulation * processes
        self.all_rows = rows
        self.rows = rows - rows % self.step_size if drop_last else rows
        self.micro_batch_size = micro_batch_size
        self.accumulation = accumulation
        self.processes = processes
        self.process = process
        self.seed = seed
        self.strategy = strategy
        self.lengths = lengths
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of epoch `epoch` for the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(self.rows, self.step_size)
        return whole * self.accumulation + self._micro_batches(rest)

    def _micro_batches(self, rows: int) -> int:
        return math.ceil(rows / (self.processes * self.micro_batch_size))

    def order(self) -> np.ndarray:
        """Return the rows of this epoch in the order in which they are trained on."""
        if self.strategy == "sequential":
            return np.arange(self.rows)
        random = np.random.default_rng([self.seed, self.epoch])
        order = random.permutation(self.all_rows)[: self.rows]
        return self._grouped(order, random) if self.strategy == "group_by_length" else order

    def _grouped(self, order: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Return `order` with rows of like length in one step, and the steps in random order.

        transformers' own grouping leaves the steps of a pool in falling length, a sawtooth through the epoch.
        """
        lengths = np.asarray(self.lengths)
        whole = self.rows - self.rows % self.step_size
        # The rows that fill no step are drawn before the sorting: they would always be the longest.
        pooled, rest = order[:whole], order[whole:]
        pools = np.arange(whole) // (POOLED_STEPS * self.step_size)
        steps = pooled[np.lexsort((lengths[pooled], pools))].reshape(-1, self.step_size)
        rest = rest[np.argsort(lengths[rest], kind="stable")]
        return np.concatenate([steps[random.permutation(len(steps))].ravel(), rest])

    def __iter__(self) -> Iterator[list[int]]:
        order = self.order()
        for start in range(0, self.rows, self.step_size):
            step = order[start : start + self.step_size]
            micro_batches = self._micro_batches(len(step))
            pieces = np.array_split(step, micro_batches * self.processes)
            for i in range(micro_batches):
                yield pieces[i * self.processes + self.process].tolist()


class EvaluationBatches(Sampler[list[int]]):
    """The batches of one process in an evaluation: all rows, sorted by length, the longest first.

    Where rows have several windows, a batch holds at most `batch_size` of these, or one row.

    All processes have equally large batches, since their logits are gathered; where the rows do not divide evenly,
    the last ones are repeated, for the reader to drop by their `row`.

    Args:
        lengths: tokens of each row.
        batch_size: most rows of a batch of one process.
        processes: number of processes.
        process: which of them this is.
        windows: how many each row has; a longer one has no fewer.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        batch_size: int,
        processes: int = 1,
        process: int = 0,
        windows: np.ndarray | None = None,
    ):
        # The longest first: what does not fit in memory is known at once.
        order = np.argsort(lengths, kind="stable")[::-1]
        self.order = np.concatenate([order, order[len(order) - 1 :].repeat(-len(order) % processes)])
        self.processes = processes
        self.process = process
        self.starts = [0]
        while self.starts[-1] < len(self.order):
            most = 1 if windows is None else windows[self.order[self.starts[-1]]]
            self.starts.append(self.starts[-1] + processes * max(1, batch_size // most))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __iter__(self) -> Iterator[list[int]]:
        for start, end in itertools.pairwise(self.starts):
            yield self.order[start + self.process : end : self.processes].tolist()


class TextCollator(DataCollatorWithPadding):
    """Pads the texts of a batch to its longest; where they are read in windows, all windows of all its texts."""

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the padded batch: `[texts, length]` each, or `[total windows, length]` beside `num_windows`."""
        if NUM_WINDOWS not in features[0]:
            return super().__call__(features)
        inside = [name for name in features[0] if name in self.tokenizer.model_input_names]
        of_texts = {name: torch.tensor([row[name] for row in features]) for name in features[0] if name not in inside}
        windows = [{name: row[name][i] for name in inside} for row in features for i in range(row[NUM_WINDOWS])]
        # Trainer takes the size of the batch from what comes first.
        return {**of_texts, **super().__call__(windows)}


@dataclass
class ColumnCollator(TextCollator):
    """Pads a batch, and encodes the columns that the model takes beside the text, `[batch]` each; for each window its
    text's, where texts are read in windows.

    Args:
        config: of an `OwnClassifier`.
    """

    config: Any = None

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the padded batch with its columns."""
        names = self.config.columns
        columns = encode_cells(self.config, {name: [row[name] for row in features] for name in names})
        tokens = [{name: value for name, value in row.items() if name not in names} for row in features]
        batch = super().__call__(tokens)
        if NUM_WINDOWS in batch:
            columns = {name: values.repeat_interleave(batch[NUM_WINDOWS], dim=0) for name, values in columns.items()}
        return {**batch, **columns}


class StandInCollator:
    """Pads a micro-batch and says what each of its rows counts: 1, or 0 for the stand-in of an empty micro-batch.

    A process without rows in a step must still take part in it, since the others wait for its gradients.
    """

    def __init__(self, collate: Callable[[list[dict[str, Any]]], dict[str, Any]], stand_in: dict[str, Any]):
        self.collate = collate
        self.stand_in = stand_in

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the padded batch with `COUNT`, `[batch]`."""
        batch = self.collate(rows or [self.stand_in])
        return {**batch, COUNT: torch.ones(len(rows)) if rows else torch.zeros(1)}


class StepLoader(DataLoader[Any]):
    """A `DataLoader` over `StepBatches`, which it tells what epoch it is."""

    batch_sampler: StepBatches

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of epoch `epoch`."""
        self.batch_sampler.set_epoch(epoch)
