"""What OpenTelemetry's own variables (OTEL_…) say to the gateway; anything wrong is refused with its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from gateway.errors import SettingsRefused
from gateway.telemetry.sampling import Sampler, sampler

SERVICE = "banyan-gateway"
QUEUE = 2048  # spans
DELAY_MS = 1000
BATCH = 64  # spans: to pack them holds the interpreter, and with it every request, for a millisecond or two


@dataclass(frozen=True, slots=True)
class Telemetry:
    """`endpoint`: where spans go, whole; `queue`, `batch`: numbers of spans; `delay_ms` until a batch goes out."""

    endpoint: str = field(repr=False)  # may carry a password
    sampler: Sampler
    resource: tuple[tuple[str, str], ...] = (("service.name", SERVICE),)
    queue: int = QUEUE
    batch: int = BATCH
    delay_ms: int = DELAY_MS


def telemetry(environment: Mapping[str, str]) -> Telemetry | None:
    """None: not asked for. Raises: SettingsRefused."""
    endpoint = _endpoint(environment)
    if endpoint is None or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    exporter = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    if exporter == "none":
        return None
    if exporter != "otlp":
        raise SettingsRefused(f"OTEL_TRACES_EXPORTER must be otlp or none, not {exporter!r}")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = environment.get(name)
        if protocol and protocol != "http/protobuf":
            raise SettingsRefused(f"{name} must be http/protobuf (collectors take it at port 4318), not {protocol!r}")
    queue = _number(environment, "OTEL_BSP_MAX_QUEUE_SIZE", QUEUE, 100_000)
    batch = _number(environment, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", min(BATCH, queue), queue)
    return Telemetry(
        endpoint,
        sampler(environment.get("OTEL_TRACES_SAMPLER"), environment.get("OTEL_TRACES_SAMPLER_ARG")),
        _resource(environment),
        queue,
        batch,
        _number(environment, "OTEL_BSP_SCHEDULE_DELAY", DELAY_MS, 60_000),
    )


def _endpoint(environment: Mapping[str, str]) -> str | None:
    """The general one is a base, that of traces is taken as it is."""
    for name, path in (("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""), ("OTEL_EXPORTER_OTLP_ENDPOINT", "/v1/traces")):
        given = environment.get(name, "").strip()
        if not given:
            continue
        try:
            parts = urlsplit(given)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise SettingsRefused(f"{name} must be an http or https URL, like http://127.0.0.1:4318")
        return given.rstrip("/") + path if path else given
    return None


def _resource(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """`key=value,…`, values percent-encoded."""
    found = {"service.name": SERVICE}
    for pair in filter(None, environment.get("OTEL_RESOURCE_ATTRIBUTES", "").split(",")):
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise SettingsRefused(f"OTEL_RESOURCE_ATTRIBUTES must be key=value,key=value; {pair.strip()!r} is neither")
        found[key.strip()] = unquote(value.strip())
    if name := environment.get("OTEL_SERVICE_NAME"):
        found["service.name"] = name
    return tuple(found.items())


def _number(environment: Mapping[str, str], name: str, default: int, most: int) -> int:
    given = environment.get(name)
    if not given:
        return default
    if not given.isdecimal() or not 1 <= int(given) <= most:
        raise SettingsRefused(f"{name} must be a whole number within 1..{most}, not {given!r}")
    return int(given)
