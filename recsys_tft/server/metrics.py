"""Metrics for Prometheus."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

if TYPE_CHECKING:
    from recsys_tft.recommending.live_store import Observed

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5)


class Metrics:
    """Counts of one server.

    Attributes:
        total: of requests.
        requests: by path and status.
        seconds: from the first byte of a request to its response, by path.
        batch: sizes of batches.
        stages: seconds of each stage, by batch.
        events: by result.
        reloads: how often a newer export was loaded.
        version: of the export.
        waiting: waiting requests.
    """

    def __init__(self) -> None:
        self.total = 0
        self._registry = registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=registry)
        self.requests = Counter("recsys_requests", "Requests.", ("path", "status"), registry=registry)
        self.seconds = Histogram(
            "recsys_request_seconds", "Seconds to answer a request.", ("path",), buckets=_SECONDS, registry=registry
        )
        sizes = (1, 2, 4, 8, 16, 32, 64)
        self.batch = Histogram("recsys_batch", "Requests answered together.", buckets=sizes, registry=registry)
        self.stages = Histogram(
            "recsys_stage_seconds", "Seconds of a stage, of a batch.", ("stage",), buckets=_SECONDS, registry=registry
        )
        self.events = Counter("recsys_events", "Events.", ("became",), registry=registry)
        self.reloads = Counter("recsys_reloads", "Changes to a newer export.", registry=registry)
        self.version = Gauge("recsys_export_version", "Version of the export.", registry=registry)
        self.waiting = Gauge("recsys_waiting_requests", "Requests that wait for a batch.", registry=registry)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self.total += 1
        self.requests.labels(path, str(status)).inc()
        self.seconds.labels(path).observe(seconds)

    def batched(self, size: int, stages: Mapping[str, float]) -> None:
        """Count a batch of requests for recommendations."""
        self.batch.observe(size)
        for stage, seconds in stages.items():
            self.stages.labels(stage).observe(seconds)

    def observed(self, result: "Observed") -> None:
        """Count events."""
        for name, count in (
            ("applied", result.applied), ("repeated", result.repeated), ("rejected", len(result.rejected))
        ):  # fmt: skip
            self.events.labels(name).inc(count)

    def text(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the requested format, and the content type."""
        encode, kind = choose_encoder(accept)
        return encode(self._registry), kind
