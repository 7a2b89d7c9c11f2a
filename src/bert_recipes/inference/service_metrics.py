"""What the service counts, in the form that Prometheus reads."""

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class ServiceMetrics:
    """Counters of one service.

    Args:
        waiting: returns how many rows wait.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, waiting: Callable[[], int]):
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "bert_recipes_requests", "Requests answered.", ("route", "status"), registry=self.registry
        )
        self._request_seconds = Histogram(
            "bert_recipes_request_seconds",
            "From a request's head to the end of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._batch_rows = Histogram(
            "bert_recipes_batch_rows", "Rows that were predicted together.", buckets=ROWS, registry=self.registry
        )
        self._batch_seconds = Histogram(
            "bert_recipes_batch_seconds", "How long a batch took.", buckets=SECONDS, registry=self.registry
        )
        self._failed_rows = Counter(
            "bert_recipes_failed_rows", "Rows that the model failed on.", registry=self.registry
        )
        Gauge("bert_recipes_waiting_rows", "Rows that wait.", registry=self.registry).set_function(waiting)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered."""
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def batch(self, rows: int, seconds: float) -> None:
        """Count a batch."""
        self._batch_rows.observe(rows)
        self._batch_seconds.observe(seconds)

    def failed(self, rows: int) -> None:
        """Count rows that the model failed on."""
        self._failed_rows.inc(rows)

    def text(self) -> bytes:
        """Return all of them as Prometheus reads them."""
        return generate_latest(self.registry)
