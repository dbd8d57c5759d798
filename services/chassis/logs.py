"""One JSON object a line on stdout; every line of a request carries its `request_id`."""

from __future__ import annotations

import logging
import sys

import msgspec
import structlog

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
    structlog.processors.format_exc_info,
]


def _as_json(event: object, **_: object) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)


def configure(service: str, level: int = logging.INFO) -> None:
    """Set up structlog, and send the standard library's log the same way."""

    def name(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.setdefault("component", service)
        return event

    processors: list[structlog.typing.Processor] = [name, *_SHARED]
    structlog.configure(
        processors=[*processors, structlog.processors.JSONRenderer(serializer=_as_json)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=processors,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=lambda event, **_: _as_json(event).decode()),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
