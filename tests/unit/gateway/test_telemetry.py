"""Which requests are traced, what the environment may say of it, and where a traceparent of ours stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from gateway.errors import SettingsRefused
from gateway.http1.forward import upstream_head
from gateway.http1.head import parse_request
from gateway.telemetry.config import telemetry
from gateway.telemetry.sampling import SAMPLERS, sampler
from gateway.telemetry.tracer import _FLAGS, _ID, _LINE, _OURS

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/"}
IDS = st.integers(1, 2**128 - 1)


@given(IDS, st.floats(0, 1))
def test_a_ratio_samples_what_every_other_sdk_samples(trace_id: int, ratio: float) -> None:
    theirs = TraceIdRatioBased(ratio).should_sample(None, trace_id, "").decision is Decision.RECORD_AND_SAMPLE
    assert sampler("traceidratio", repr(ratio)).samples(b"%032x" % trace_id, None) is theirs


@given(IDS, st.sampled_from([None, 0, 1, 2, 3]))
def test_the_fixed_samplers_ask_nothing_and_parents_are_asked_first(trace_id: int, flags: int | None) -> None:
    raw = b"%032x" % trace_id
    assert sampler("always_on", None).samples(raw, flags)
    assert not sampler("always_off", None).samples(raw, flags)
    parent = flags is not None and bool(flags & 1)
    assert sampler("parentbased_always_on", None).samples(raw, flags) is (parent or flags is None)
    assert sampler("parentbased_always_off", None).samples(raw, flags) is parent


def test_the_default_is_one_root_of_a_hundred() -> None:
    assert sampler(None, None) == sampler("parentbased_traceidratio", "0.01")
    assert sampler("", "") == sampler(None, None)
    for name in SAMPLERS:
        sampler(name, None)


def test_without_an_endpoint_there_is_no_telemetry() -> None:
    assert telemetry({"OTEL_TRACES_SAMPLER": "nonsense"}) is None
    assert telemetry({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}) is None
    assert telemetry({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}) is None


def test_the_endpoint_of_traces_is_taken_as_it_is_and_the_general_one_is_a_base() -> None:
    general = telemetry(ENDPOINT)
    assert general is not None
    assert general.endpoint == "http://collector:4318/v1/traces"
    own = telemetry({**ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://other/x"})
    assert own is not None
    assert own.endpoint == "https://other/x"


def test_the_resource_says_who_we_are() -> None:
    given = {"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=prod,team=a%20b", "OTEL_SERVICE_NAME": "edge"}
    found = telemetry({**ENDPOINT, **given})
    assert found is not None
    assert dict(found.resource) == {"service.name": "edge", "deployment.environment.name": "prod", "team": "a b"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:port"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_TRACES_SAMPLER_ARG", "many"),
        ("OTEL_TRACES_SAMPLER_ARG", "-0.1"),
        ("OTEL_TRACES_SAMPLER_ARG", "nan"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team"),
        ("OTEL_RESOURCE_ATTRIBUTES", "=x"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),
        ("OTEL_BSP_SCHEDULE_DELAY", "soon"),
    ],
)
def test_a_bad_value_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsRefused, match=name):
        telemetry({**ENDPOINT, name: value})


def test_a_password_in_the_endpoint_is_not_shown() -> None:
    assert "hush" not in repr(telemetry({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://me:hush@collector"}))


@pytest.mark.parametrize("lines", [b"", b"Traceparent: nonsense\r\nTracestate: a=b\r\n", b"X-Request-Id: mine\r\n"])
def test_a_traceparent_of_ours_is_the_last_line_of_the_head(lines: bytes) -> None:
    request = parse_request(b"GET / HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")
    head = upstream_head(request, b"Via: 1.1 banyan\r\n", b"id-1", b"up:1")
    assert head[_LINE] == _OURS
    assert len(bytes.fromhex(head[_ID].decode())) == 16
    assert head[_FLAGS:] == b"01\r\n\r\n"


def test_a_callers_traceparent_is_not_taken_for_ours() -> None:
    line = b"Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
    head = upstream_head(parse_request(b"GET / HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n"), b"", b"id-1", b"up:1")
    assert head[_LINE] != _OURS
