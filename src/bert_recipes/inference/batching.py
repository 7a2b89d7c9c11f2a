"""Rows of many requests predicted together: as soon as the model is free, it takes what is waiting.

There is no fixed wait, so a single client waits for nobody, and many clients share each forward pass. Requests take
turns row by row, so that one of a thousand rows does not hold up one of a single row.
"""

import asyncio
import logging
import math
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from bert_recipes.inference.rows import TextRow

# A batch ends with this many characters, too, so that rows of long texts do not keep others waiting for seconds.
MOST_CHARACTERS = 2**16
# What `Retry-After` says at least and at most, in seconds.
SOONEST, LATEST = 1, 60
logger = logging.getLogger(__name__)


class QueueFullError(Exception):
    """There is no room for a request's rows.

    Attributes:
        of_client: whether it is the client's own rows that fill its share of the queue.
        seconds: after which there is likely to be room.
    """

    def __init__(self, of_client: bool, seconds: int):
        super().__init__()
        self.of_client, self.seconds = of_client, seconds


class PredictionError(Exception):
    """The model failed on a row of the request, or the thread that predicts has ended."""


@dataclass(eq=False)
class _Job:
    """A request: its rows, what has been found of them, and who waits for it."""

    rows: Sequence[TextRow]
    client: str
    future: "asyncio.Future[np.ndarray]"
    found: dict[int, np.ndarray]
    taken: int = 0
    error: PredictionError | None = None

    @property
    def left(self) -> int:
        return len(self.rows) - self.taken

    @property
    def is_done(self) -> bool:
        return self.error is not None or len(self.found) == len(self.rows)


class BatchObserver(Protocol):
    """What is told of batches, by the thread that predicts."""

    def batch(self, rows: int, seconds: float) -> None:
        """Take note of a batch."""

    def failed(self, rows: int) -> None:
        """Take note of rows that the model failed on."""


class Batcher:
    """A queue of rows, and the thread that predicts them.

    Args:
        predict: returns the probabilities `[rows, num_labels]` of rows; it is called by one thread alone.
        most_rows: the most rows that are predicted together.
        most_waiting: the most rows that wait; one client may have half of them.
        observer: what is told of batches.
    """

    def __init__(
        self,
        predict: Callable[[list[TextRow]], np.ndarray],
        most_rows: int,
        most_waiting: int,
        observer: BatchObserver,
    ):
        self.predict, self.most_rows, self.most_waiting = predict, most_rows, most_waiting
        self.observer = observer
        self.waiting = 0
        self._waiting_of: Counter[str] = Counter()
        self._jobs: deque[_Job] = deque()
        self._in_work: list[tuple[_Job, int]] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._rate = 0.0  # rows per second, of the last batches
        self._thread = threading.Thread(target=self._work, name="predict", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Predict what is waiting, and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether there is a thread that predicts."""
        return self._thread.is_alive()

    async def probabilities(self, rows: Sequence[TextRow], client: str = "") -> np.ndarray:
        """Return the probabilities `[rows, num_labels]` of one request's rows, of which there is at least one.

        If the caller is cancelled, rows that have not been taken yet are dropped.

        Raises:
            QueueFullError: there is no room for them.
            PredictionError: the model failed on one of them.
        """
        job = _Job(rows, client, asyncio.get_running_loop().create_future(), {})
        with self._changed:
            if self._stopping or not self.is_alive:
                raise PredictionError("the thread that predicts has ended")
            share = self.most_waiting // 2
            if self._waiting_of[client] + len(rows) > max(share, 1):
                raise QueueFullError(True, self._seconds(self._waiting_of[client]))
            if self.waiting + len(rows) > self.most_waiting:
                raise QueueFullError(False, self._seconds(self.waiting))
            self._jobs.append(job)
            self._count(job, len(rows))
            self._changed.notify()
        try:
            return await job.future
        finally:
            with self._changed:
                self._drop(job)

    def _seconds(self, rows: int) -> int:
        """Return how long that many rows will take, about."""
        return min(max(math.ceil(rows / self._rate), SOONEST), LATEST) if self._rate else SOONEST

    def _count(self, job: _Job, rows: int) -> None:
        self.waiting += rows
        self._waiting_of[job.client] += rows
        if not self._waiting_of[job.client]:
            del self._waiting_of[job.client]

    def _drop(self, job: _Job) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
            self._count(job, -job.left)

    def _work(self) -> None:
        try:
            while taken := self._take():
                started = time.monotonic()
                self._answer(taken, self._predicted([job.rows[i] for job, i in taken]))
                seconds = time.monotonic() - started
                rate = len(taken) / max(seconds, 1e-6)
                self._rate = 0.8 * self._rate + 0.2 * rate if self._rate else rate
                self.observer.batch(len(taken), seconds)
        finally:
            self._give_up()

    def _take(self) -> list[tuple[_Job, int]]:
        """Wait for rows and return the next ones, a row of each request in turn; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._stopping)
            taken: list[tuple[_Job, int]] = []
            characters = 0
            while self._jobs and len(taken) < self.most_rows and characters < MOST_CHARACTERS:
                job = self._jobs.popleft()
                row = job.rows[job.taken]
                taken.append((job, job.taken))
                characters += len(row.text) + len(row.text_pair or "")
                job.taken += 1
                self._count(job, -1)
                if job.left:
                    self._jobs.append(job)
            self._in_work = taken
            return taken

    def _predicted(self, rows: list[TextRow]) -> list[np.ndarray | PredictionError]:
        """Return the probabilities of each row; if it fails on them together, each half is tried."""
        try:
            found = self.predict(rows)
            failure, where = "numbers that are not finite", ""
            if len(found) == len(rows) and np.isfinite(found).all():
                return list(found)
        # Whatever a model raises, a user's own among them, may cost no other row than the one that causes it.
        except Exception as error:
            # Without the message, which might quote the text: no log may hold one.
            failure, where = type(error).__name__, "".join(traceback.format_tb(error.__traceback__))
        if half := len(rows) // 2:
            return [*self._predicted(rows[:half]), *self._predicted(rows[half:])]
        logger.error("the model failed on a row with %s\n%s", failure, where)
        self.observer.failed(1)
        return [PredictionError("the model failed on this row")]

    def _answer(self, taken: list[tuple[_Job, int]], found: Sequence[np.ndarray | PredictionError]) -> None:
        done: dict[_Job, None] = {}
        for (job, i), of_row in zip(taken, found, strict=True):
            if isinstance(of_row, PredictionError):
                job.error = of_row
            else:
                job.found[i] = of_row
            if job.is_done:
                done[job] = None
        self._in_work = []
        self._tell(list(done))

    def _tell(self, jobs: list[_Job]) -> None:
        """Give the requests their answers, in the thread of the event loop that waits for them."""
        if jobs and not (loop := jobs[0].future.get_loop()).is_closed():
            loop.call_soon_threadsafe(_settle, jobs)

    def _give_up(self) -> None:
        """Fail what is left when the thread ends, which after `stop` is nothing."""
        with self._changed:
            left = [*dict.fromkeys(job for job, _ in self._in_work), *self._jobs]
            self._stopping = True
            self._jobs.clear()
            self.waiting = 0
            self._waiting_of.clear()
        for job in left:
            job.error = job.error or PredictionError("the thread that predicts has ended")
        self._tell(list(dict.fromkeys(left)))


def _settle(jobs: list[_Job]) -> None:
    for job in jobs:
        if job.future.done():  # the client is gone
            continue
        if job.error:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(np.stack([job.found[i] for i in range(len(job.rows))]))
