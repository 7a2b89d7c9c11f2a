"""The queue of the service: what waits is predicted together, each request gets its own, and nothing stops it."""

import asyncio
import threading
import time

import numpy as np
import pytest

from bert_recipes.inference.batching import Batcher, PredictionError, QueueFullError
from bert_recipes.inference.rows import TextRow


class Observer:
    def __init__(self):
        self.rows, self.failures = [], 0

    def batch(self, rows, seconds):
        self.rows.append(rows)

    def failed(self, rows):
        self.failures += rows


class Model:
    """Predicts the length of a text; waits until it is released; fails on texts that say so."""

    def __init__(self):
        self.batches = []
        self.free = threading.Event()
        self.begun = threading.Event()

    def __call__(self, rows):
        self.begun.set()
        assert self.free.wait(10)
        texts = [row.text for row in rows]
        self.batches.append(texts)
        if "exit" in texts:
            raise SystemExit
        if "bad" in texts:
            raise ValueError(" ".join(texts).upper())
        return np.array([[float("nan") if text == "nan" else len(text)] for text in texts])


def rows_of(*texts):
    return [TextRow(str(i), text) for i, text in enumerate(texts)]


class Queue:
    """A batcher with a model that is busy with one row until it is released."""

    def __init__(self, most_rows=8, most_waiting=100):
        self.model, self.observer = Model(), Observer()
        self.batcher = Batcher(self.model, most_rows, most_waiting, self.observer)

    async def __aenter__(self):
        self.batcher.start()
        self.first = self.ask("first")
        await asyncio.to_thread(self.model.begun.wait, 10)
        return self

    async def __aexit__(self, *error):
        self.model.free.set()
        await asyncio.to_thread(self.batcher.stop)
        await asyncio.gather(self.first, return_exceptions=True)

    def ask(self, *texts, client=""):
        return asyncio.ensure_future(self.batcher.probabilities(rows_of(*texts), client))

    async def answers(self, *asked):
        await asyncio.sleep(0)  # so that they are all in the queue
        self.model.free.set()
        return await asyncio.gather(*asked, return_exceptions=True)


def of(values):
    return [value for (value,) in values.tolist()]


def test_what_waits_is_predicted_together_and_each_gets_its_own():
    async def main():
        async with Queue() as queue:
            found = await queue.answers(queue.ask("a", "bb"), queue.ask("ccc"), queue.ask("", "dddd"))
        assert [of(values) for values in found] == [[1, 2], [3], [0, 4]]
        assert [len(batch) for batch in queue.model.batches] == queue.observer.rows == [1, 5]

    asyncio.run(main())


def test_a_small_request_does_not_wait_for_a_large_one():
    async def main():
        async with Queue(most_rows=4) as queue:
            large, small = queue.ask(*["x" * i for i in range(20)]), queue.ask("small")
            ended = []
            large.add_done_callback(lambda _: ended.append("large"))
            small.add_done_callback(lambda _: ended.append("small"))
            found = await queue.answers(large, small)
        assert ended == ["small", "large"]
        assert of(found[0]) == list(range(20))
        assert max(map(len, queue.model.batches)) == 4
        assert "small" in queue.model.batches[1]

    asyncio.run(main())


def test_long_texts_end_a_batch():
    async def main():
        async with Queue() as queue:
            found = await queue.answers(*(queue.ask("x" * 50_000) for _ in range(4)))
        assert [of(values) for values in found] == [[50_000]] * 4
        assert [len(batch) for batch in queue.model.batches] == [1, 2, 2]

    asyncio.run(main())


@pytest.mark.parametrize("bad", ["bad", "nan"])
def test_a_row_that_makes_the_model_fail_costs_its_own_request_alone(bad, caplog):
    async def main():
        async with Queue() as queue:
            found = await queue.answers(queue.ask("a", bad, "c"), queue.ask("dd"), queue.ask("eee", "f"))
            assert isinstance(found[0], PredictionError)
            assert [of(values) for values in found[1:]] == [[2], [3, 1]]
            assert of(await queue.ask("after")) == [5]
        assert queue.observer.failures == 1

    asyncio.run(main())
    assert "the model failed on a row" in caplog.text
    assert "BAD" not in caplog.text


def test_a_full_queue_refuses_and_says_when_to_come_again():
    async def main():
        async with Queue(most_waiting=8) as queue:
            asked = [queue.ask(*"abc", client="one"), queue.ask(*"abc", client="two")]
            await asyncio.sleep(0)
            with pytest.raises(QueueFullError) as of_client:
                await queue.ask(*"de", client="one")
            with pytest.raises(QueueFullError) as of_all:
                await queue.ask(*"fgh", client="three")
            assert (of_client.value.of_client, of_all.value.of_client) == (True, False)
            assert 1 <= of_all.value.seconds <= 60
            assert queue.batcher.waiting == 6
            await queue.answers(*asked)
            assert of(await queue.ask(*"de", client="one")) == [1, 1]
            assert queue.batcher.waiting == 0

    asyncio.run(main())


def test_rows_of_a_client_that_went_are_not_predicted():
    async def main():
        async with Queue() as queue:
            gone, stays = queue.ask("gone", "gone"), queue.ask("stays")
            await asyncio.sleep(0)
            gone.cancel()
            await asyncio.sleep(0)
            assert queue.batcher.waiting == 1
            (found,) = await queue.answers(stays)
        assert of(found) == [5]
        assert queue.model.batches == [["first"], ["stays"]]

    asyncio.run(main())


def test_a_client_may_go_while_its_rows_are_predicted():
    async def main():
        async with Queue() as queue:
            queue.first.cancel()
            (found,) = await queue.answers(queue.ask("stays"))
        assert of(found) == [5]

    asyncio.run(main())


def test_stopping_predicts_what_waits():
    async def main():
        async with Queue(most_rows=2) as queue:
            asked = queue.ask(*"abcdef")
            await asyncio.sleep(0)
            stopping = asyncio.ensure_future(asyncio.to_thread(queue.batcher.stop))
            await asyncio.sleep(0.05)
            (found,) = await queue.answers(asked)
            await stopping
            assert of(found) == [1] * 6
            with pytest.raises(PredictionError):
                await queue.ask("too late")

    asyncio.run(main())


# The thread is ended by an exception on purpose.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_the_thread_ends_all_who_wait_are_told():
    async def main():
        async with Queue(most_rows=1) as queue:
            found = await queue.answers(queue.ask("exit"), queue.ask("after"))
            assert all(isinstance(error, PredictionError) for error in found)
            until = time.monotonic() + 10
            while queue.batcher.is_alive and time.monotonic() < until:
                await asyncio.sleep(0.01)
            assert not queue.batcher.is_alive
            with pytest.raises(PredictionError):
                await asyncio.wait_for(queue.ask("later"), 10)

    asyncio.run(main())
