"""Spans on their way to the collector: a bounded queue, and a thread that sends them. No request waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Sequence
from time import monotonic
from uuid import uuid4

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from gateway.errors import SettingsRefused
from gateway.telemetry.config import Telemetry
from gateway.telemetry.spans import Maker
from gateway.telemetry.tracer import Tracer

CLOSE_SECONDS = 1.0  # for the last spans, when the worker ends
SAY_SECONDS = 60.0  # between two lines on a collector that is away

_FILES = tuple(
    f"OTEL_EXPORTER_OTLP_{signal}{file}"
    for signal in ("TRACES_", "")
    for file in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
)

log = structlog.get_logger("gateway.telemetry")


def refuse_unusable(telemetry: Telemetry) -> None:
    """What the exporter reads of the environment by itself: headers, files, a timeout. Raises: SettingsRefused."""
    for name in _FILES:
        path = os.environ.get(name)
        if path and not os.access(path, os.R_OK):
            raise SettingsRefused(f"{name}: cannot read {path}")
    complaints = _Complaints()
    library = logging.getLogger("opentelemetry")
    library.addHandler(complaints)
    library.propagate = False
    try:
        OTLPSpanExporter(endpoint=telemetry.endpoint).shutdown()  # type: ignore[no-untyped-call]
    except Exception as error:
        raise SettingsRefused(f"OTEL_EXPORTER_OTLP_…: {error}") from error
    finally:
        library.removeHandler(complaints)
    if complaints.heard:
        raise SettingsRefused(f"OTEL_EXPORTER_OTLP_…: {'; '.join(complaints.heard)}")


class _Complaints(logging.Handler):
    """The exporter warns of a value that it does not understand, and takes another one."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(str(record.msg).partition("%")[0].strip(" :"))  # the value itself may be a secret


class _Counting(SpanExporter):
    """Knows what became of the spans."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.sent = 0
        self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            if result is SpanExportResult.SUCCESS:
                self.sent += len(spans)
            else:
                self.failed += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class Export:
    def __init__(self, telemetry: Telemetry) -> None:
        _listen_to_library()
        self._most = telemetry.queue
        self._taken = 0
        self._dropped = 0
        self._exporter = _Counting(OTLPSpanExporter(endpoint=telemetry.endpoint))
        self._processor = BatchSpanProcessor(
            self._exporter,
            max_queue_size=telemetry.queue,
            schedule_delay_millis=telemetry.delay_ms,
            max_export_batch_size=telemetry.batch,
        )

    def take(self, span: ReadableSpan) -> None:
        if self._taken - self._exporter.sent - self._exporter.failed >= self._most:
            self._dropped += 1
            return
        self._taken += 1
        self._processor.on_end(span)

    def figures(self) -> dict[str, int]:
        return {"sent": self._exporter.sent, "failed": self._exporter.failed, "dropped": self._dropped}

    async def close(self) -> None:
        """Send the rest, as long as somebody takes it."""
        loop, over = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]
            with contextlib.suppress(RuntimeError):  # the loop did not wait for it
                loop.call_soon_threadsafe(over.set)

        threading.Thread(target=end, name="last spans", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await over.wait()


def tracer(telemetry: Telemetry) -> Tracer:
    """Of one worker."""
    resource = Resource.create({"service.instance.id": str(uuid4()), **dict(telemetry.resource)})
    return Tracer(telemetry.sampler, Maker(resource), Export(telemetry))


class _Told(logging.Handler):
    """What the library says becomes a line of our log, a few times an hour at most for the same trouble."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said = -SAY_SECONDS
        self._silent = 0

    def emit(self, record: logging.LogRecord) -> None:
        now = monotonic()
        if now - self._said < SAY_SECONDS:
            self._silent += 1
            return
        log.warning("spans are not exported as they should be", reason=record.getMessage(), more=self._silent)
        self._said, self._silent = now, 0


def _listen_to_library() -> None:
    library = logging.getLogger("opentelemetry")
    if not any(isinstance(handler, _Told) for handler in library.handlers):
        library.addHandler(_Told())
        library.propagate = False
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)  # each try of the exporter, told a second time
