"""Which rows make up an optimizer step, and how a step is dealt to processes and micro-batches.

The order of an epoch depends on the seed, the epoch and the size of a whole step alone. So the same rows meet in the
same step whether it is cut into one batch or into many, on one process or on many, and after an interruption too.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

COUNT = "count"


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
        lengths: list[int] | None = None,
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

    def order(self) -> list[int]:
        """Return the rows of this epoch in the order in which they are trained on."""
        if self.strategy == "sequential":
            return list(range(self.rows))
        seed = np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)[0]
        generator = torch.Generator().manual_seed(int(seed))
        if self.strategy == "group_by_length":
            order = get_length_grouped_indices(self.lengths, self.step_size, generator=generator)
        else:
            order = torch.randperm(self.all_rows, generator=generator).tolist()
        return order[: self.rows]

    def __iter__(self) -> Iterator[list[int]]:
        order = self.order()
        for start in range(0, self.rows, self.step_size):
            step = order[start : start + self.step_size]
            micro_batches = self._micro_batches(len(step))
            pieces = np.array_split(step, micro_batches * self.processes)
            for i in range(micro_batches):
                yield pieces[i * self.processes + self.process].tolist()


class StandInCollator:
    """Pads a micro-batch and says what each of its rows counts: 1, or 0 for the stand-in of an empty micro-batch.

    A process without rows in a step must still take part in it, since the others wait for its gradients.
    """

    def __init__(self, collate: Callable[[list[dict]], dict], stand_in: dict):
        self.collate = collate
        self.stand_in = stand_in

    def __call__(self, rows: list[dict]) -> dict:
        """Return the padded batch with `count`, `[batch]`."""
        batch = self.collate(rows or [self.stand_in])
        return {**batch, COUNT: torch.ones(len(rows)) if rows else torch.zeros(1)}


class StepLoader(DataLoader):
    """A `DataLoader` over `StepBatches`, which it tells what epoch it is."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of epoch `epoch`."""
        self.batch_sampler.set_epoch(epoch)
