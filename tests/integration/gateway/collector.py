"""An OpenTelemetry collector as far as it takes spans: a real HTTP server that decodes what it is sent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.integration.gateway.upstream import Seen, Upstream


def plain(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@dataclass
class Told:
    """One span."""

    span: Span
    resource: dict[str, Any]

    @property
    def kind(self) -> str:
        return Span.SpanKind.Name(self.span.kind).removeprefix("SPAN_KIND_").lower()

    @property
    def id(self) -> str:
        return self.span.span_id.hex()

    @property
    def parent(self) -> str:
        return self.span.parent_span_id.hex()

    @property
    def trace(self) -> str:
        return self.span.trace_id.hex()

    @property
    def failed(self) -> bool:
        return self.span.status.code == 2

    @property
    def seconds(self) -> float:
        return (self.span.end_time_unix_nano - self.span.start_time_unix_nano) / 1e9

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        return [(event.name, plain(event.attributes)) for event in self.span.events]

    def __getitem__(self, name: str) -> Any:
        return plain(self.span.attributes).get(name)


@dataclass
class Collector:
    """`hangs`: takes what it is sent and never answers."""

    hangs: bool = False
    spans: list[Told] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)
    calls: int = 0
    raw: bytes = b""
    server: Upstream = field(default_factory=Upstream)

    async def start(self) -> Collector:
        self.server.handler = self._take
        await self.server.start()
        return self

    @property
    def url(self) -> str:
        return self.server.url

    async def _take(self, seen: Seen, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        if self.hangs:
            await asyncio.Event().wait()
        assert seen.headers["content-type"] == "application/x-protobuf"
        self.paths.add(seen.target)
        self.raw += seen.body
        for of_resource in ExportTraceServiceRequest.FromString(seen.body).resource_spans:
            resource = plain(of_resource.resource.attributes)
            for scope in of_resource.scope_spans:
                self.spans += [Told(span, resource) for span in scope.spans]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")

    def servers(self) -> list[Told]:
        return [one for one in self.spans if one.kind == "server"]

    def clients(self, of: Told) -> list[Told]:
        """The attempts of a request, in order."""
        found = [one for one in self.spans if one.kind == "client" and one.parent == of.id]
        return sorted(found, key=lambda one: one.span.start_time_unix_nano)
