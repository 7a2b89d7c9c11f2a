"""A service of a model that is a function, and how tests ask it."""

import asyncio
import threading

import httpx
import numpy as np

from bert_recipes.inference.payloads import Limits
from bert_recipes.inference.rows_predictor import RowsPredictor
from bert_recipes.inference.service import Service, create_app
from bert_recipes.task import SINGLE_LABEL


class Counted(RowsPredictor):
    """A model whose logits are how often a text says `fire` and `cake`; a text that says `bad` it fails on.

    Args:
        trained_on: the configuration of its run.
        problem_type: what transformers calls the task.
        label_names: in the order of the logits, two.
        columns: what it takes beside the text, `[columns]`.
    """

    # Set by the instance.
    label_names = problem_type = None

    def __init__(self, trained_on=None, problem_type=SINGLE_LABEL, label_names=("fire", "cake"), columns=()):
        self.trained_on, self.problem_type = trained_on or {}, problem_type
        self.label_names, self.columns = list(label_names), {name: {"categories": ["fire"]} for name in columns}
        self.batches, self.free, self.begun = [], threading.Event(), threading.Event()
        self.free.set()

    def probabilities(self, rows):
        """Yield the rows with a share for each label, once the model is free."""
        self.begun.set()
        assert self.free.wait(20)
        self.batches.append([(row.text, row.text_pair) for row in rows])
        texts = [f"{row.text} {row.text_pair or ''} {(row.cells or {}).get('keyword', '')}" for row in rows]
        if any("bad" in text for text in texts):
            raise ValueError(f"cannot read {texts}")
        counts = np.array([[text.count("fire"), text.count("cake")] for text in texts], dtype=float)
        yield rows, (counts + 1) / (counts.sum(1, keepdims=True) + 2)


def service_of(predictor, **options):
    limits = Limits(options.pop("texts", 20), options.pop("characters", 200), options.pop("body", 200_000))
    return Service("runs/tiny", predictor, limits, **{"most_waiting": 80, **options})


def asked(service, use):
    """Run `use(client)` with a client of the service, in this process and without a server."""

    async def main():
        service.batcher.start()
        transport = httpx.ASGITransport(create_app(service), raise_app_exceptions=False)
        try:
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                return await asyncio.wait_for(use(client), 20)
        finally:
            getattr(service.predictor, "free", threading.Event()).set()
            await asyncio.to_thread(service.batcher.stop)

    return asyncio.run(main())


def post(service, where="/predict", **json):
    """Return what the service answers to one request."""
    return asked(service, lambda client: client.post(where, json=json))
