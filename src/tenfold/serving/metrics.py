"""What a server counts, for Prometheus."""

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST
MULTIPROCESS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # where workers share their counts
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_IMAGES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counts of one server.

    Args:
        shared: whether several workers add up theirs, in the folder that the environment names.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self._registry, self._shared = CollectorRegistry(), shared
        self.requests = Counter(
            "http_requests",
            "Requests answered.",
            ("method", "path", "status"),
            registry=self._registry,
        )
        self.in_progress = Gauge(
            "http_requests_in_progress",
            "Requests that are being answered.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.duration = Histogram(
            "http_request_duration_seconds",
            "From the head of a request to the end of its answer.",
            ("path",),
            registry=self._registry,
            buckets=_SECONDS,
        )
        self.digits = Counter("tenfold_digits", "Digits predicted.", registry=self._registry)
        self.batch = Histogram(
            "tenfold_batch_images",
            "Images in each batch that was computed.",
            registry=self._registry,
            buckets=_IMAGES,
        )
        self._queue = Gauge(
            "tenfold_queue_images",
            "Images that wait to be computed.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self._pictures = Gauge(
            "tenfold_queue_pictures",
            "Pictures that wait or are being read.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        if not shared:
            ProcessCollector(registry=self._registry)
            PlatformCollector(registry=self._registry)

    def watch_queues(self, images: Callable[[], int], pictures: Callable[[], int]) -> None:
        """Ask these for the lengths of the queues, whenever somebody asks for the metrics."""
        self._lengths = (images, pictures)

    def text(self) -> bytes:
        """Return all in Prometheus' text format."""
        images, pictures = self._lengths
        self._queue.set(images())
        self._pictures.set(pictures())
        if not self._shared:
            return generate_latest(self._registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)
