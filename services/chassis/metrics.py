"""Prometheus metrics of one process. Labels are bounded: route templates, known methods, statuses."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """A registry of its own, so that several applications fit in one process (tests)."""

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._requests = Counter(
            "banyan_service_requests_total", "Requests answered.", ["service", "method", "route", "status"],
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "banyan_service_request_seconds", "Time from request to answer.", ["service", "method", "route"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._messages = Counter(
            "banyan_service_messages_total", "Outbox messages handed on.", ["service", "topic", "result"],
            registry=self.registry,
        )  # fmt: skip
        self._service = service

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        method = method if method in _METHODS else "OTHER"
        self._requests.labels(self._service, method, route, str(status)).inc()
        self._seconds.labels(self._service, method, route).observe(seconds)

    def message(self, topic: str, result: str) -> None:
        self._messages.labels(self._service, topic, result).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)
