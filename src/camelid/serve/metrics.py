"""What Prometheus is told. Labels are route templates and statuses, never a path or a name that a client chose."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from camelid.serve.admission import Admission

_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600)


@final
class Metrics:
    """Of one server: its own registry, so that several can live in one process."""

    def __init__(self, admission: Admission) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = self._counter("requests", "requests by route and status", "route", "status")
        self.refused = self._counter("refused", "requests that were not let in", "reason")
        self.ended = self._counter("answers", "answers by how they ended", "finish")
        self.prompt_tokens = self._counter("prompt_tokens", "tokens of prompts that were answered")
        self.completion_tokens = self._counter("completion_tokens", "tokens of answers")
        self.seconds = self._histogram("request_seconds", "seconds from a request to the end of its answer", "route")
        self.first = self._histogram("first_token_seconds", "seconds from a request to its answer's first token")
        self._gauge("places_taken", "answers that run or wait", lambda: admission.taken)
        self._gauge("places", "answers that may run or wait", lambda: admission.places)
        self._gauge("tasks", "tasks of the event loop, this request's among them", lambda: len(asyncio.all_tasks()))
        self._gauge("draining", "1 once the server is told to end", lambda: int(admission.draining))

    def text(self) -> bytes:
        """Prometheus' text format, version 0.0.4. On the event loop."""
        return generate_latest(self.registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"camelid_{name}_total", what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, *labels: str) -> Histogram:
        return Histogram(f"camelid_{name}", what, labels, registry=self.registry, buckets=_SECONDS)

    def _gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        Gauge(f"camelid_{name}", what, registry=self.registry).set_function(value)
