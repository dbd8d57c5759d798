"""A route table compiled for matching: exact paths in a dictionary, templates in a trie, a slot per bucket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from urllib.parse import unquote_to_bytes

from gateway.control.rules import parameters, segments
from gateway.control.table import Domain, Operation, RouteTable, Wave
from gateway.routing.bucket import BUCKETS, bucket
from gateway.routing.decision import Decision, Slot, SlotMaker
from gateway.routing.keys import Head, Source, first_key, source

DEFAULT_DOMAIN = "default"
NO_VALUES: tuple[bytes, ...] = ()


class Route:
    """One operation, ready to decide by."""

    __slots__ = (
        "domain",
        "id",
        "idempotent",
        "identities",
        "is_read",
        "keyless",
        "native",
        "parameters",
        "pinnable",
        "slots",
        "sources",
        "uniform",
    )

    def __init__(
        self,
        operation_id: str,
        domain: str,
        *,
        is_read: bool | None,
        native: bool,
        idempotent: bool | Literal["key"] = False,
        sources: Sequence[Source],
        slots: Sequence[Slot],
        keyless: Slot,
        identities: Sequence[Source],
        parameters: Sequence[Source] = (),
    ) -> None:
        self.id = operation_id
        self.domain = domain
        self.is_read = is_read  # None: told by the method
        self.native = native
        self.idempotent = idempotent
        self.sources = tuple(sources)
        self.slots = tuple(slots)
        self.keyless = keyless
        first = self.slots[0] if self.slots else keyless
        # Most of the time all buckets fare alike, and no key is needed to know the side.
        self.uniform = first if first is keyless and all(slot is first for slot in self.slots) else None
        self.identities = tuple(identities)
        self.parameters = tuple(parameters)
        self.pinnable = any(slot.pinned is not slot.read for slot in {*self.slots, keyless})

    def slot_for(self, key: str | None) -> Slot:
        if self.uniform is not None:
            return self.uniform
        return self.keyless if key is None else self.slots[bucket(key)]

    def key_of(self, head: Head, values: Sequence[bytes]) -> str | None:
        return first_key(self.sources, head, values)

    def identities_of(self, head: Head, values: Sequence[bytes]) -> list[bytes]:
        """All names by which this domain may know the client, or what it wrote: its read may carry another one.

        `parameters` are those keys in the path that a key before them in the plan's list may hide.
        """
        found = [value for read in self.identities if (value := read(head, NO_VALUES))]
        found += [value for read in self.parameters if (value := read(head, values))]
        if (key := self.key_of(head, values)) is not None:
            found.append(key.encode())
        return found


class _Node:
    __slots__ = ("literal", "open", "route")

    def __init__(self) -> None:
        self.literal: dict[bytes, _Node] = {}
        self.open: _Node | None = None
        self.route: Route | None = None


class Router:
    """Immutable once made; a new table makes a new one."""

    def __init__(self, table: RouteTable) -> None:
        self.table = table
        self.version = table.version
        self._exact: dict[bytes, Route] = {}
        self._tries: dict[bytes, _Node] = {}
        self.default = _default_route(table.version)
        for name, domain in table.domains.items():
            self._add_domain(name, domain)

    def match(self, method: bytes, path: bytes) -> tuple[Route, Sequence[bytes]]:
        """The route of a request and the values of its template's parameters. Literals win over parameters."""
        if b"%" not in path:
            found = self._exact.get(method + b" " + path)
            if found is not None:
                return found, NO_VALUES
        trie = self._tries.get(method)
        if trie is not None:
            values: list[bytes] = []
            route = _walk(trie, [unquote_to_bytes(part) for part in path.split(b"/")[1:]], 0, values)
            if route is not None:
                return route, values
        if method == b"HEAD":
            return self.match(b"GET", path)
        return self.default, NO_VALUES

    def _add_domain(self, name: str, domain: Domain) -> None:
        maker = SlotMaker(name, domain.service, self.version, shadowed=domain.shadow_percent > 0)
        slots, keyless = _slots(maker, domain.waves)
        native = maker.native(any(slot.write.hold for slot in {*slots, keyless}))
        specs = {spec for op in domain.operations for spec in op.key if spec.startswith(("header:", "cookie:"))}
        identities = [source(spec, ()) for spec in sorted(specs)]
        for operation in domain.operations:
            names = parameters(operation.path)
            route = Route(
                operation.id,
                name,
                is_read=operation.kind == "read",
                native=operation.native,
                idempotent=operation.idempotent,
                sources=[source(spec, names) for spec in operation.key],
                slots=() if operation.native else slots,
                keyless=native if operation.native else keyless,
                identities=identities,
                parameters=[source(spec, names) for spec in operation.key[1:] if spec.startswith("path:")],
            )
            self._add(operation, route)

    def _add(self, operation: Operation, route: Route) -> None:
        method = operation.method.encode()
        node = self._tries.setdefault(method, _Node())
        for part in segments(operation.path):
            if part.startswith("{"):
                node.open = node.open or _Node()
                node = node.open
            else:
                node = node.literal.setdefault(unquote_to_bytes(part), _Node())
        node.route = route
        if not parameters(operation.path):
            self._exact[method + b" " + operation.path.encode()] = route


def _slots(maker: SlotMaker, waves: list[Wave]) -> tuple[list[Slot], Slot]:
    slots: list[Slot] = []
    keyless = maker.keyless(waves)
    for wave in sorted(waves, key=lambda wave: wave.bucket_from):
        size = wave.bucket_to - wave.bucket_from
        outside = keyless if len(waves) == 1 else maker.of_wave(wave, in_canary=False)
        # design §7: bucket < percent × 1024 / 100, counted from the wave's first bucket
        inside_count = min(size, -int(-wave.canary_percent * size // 100)) if wave.phase == "canary" else 0
        inside = maker.of_wave(wave, in_canary=True) if inside_count else outside
        slots += [inside] * inside_count + [outside] * (size - inside_count)
    assert len(slots) == BUCKETS, "the table was validated"
    return slots, keyless


def _default_route(version: int) -> Route:
    banner = f"Banyan-Route: domain={DEFAULT_DOMAIN}; side=legacy; reason=default; version={version}\r\n".encode()
    here = Decision(DEFAULT_DOMAIN, "legacy", "legacy", "default", banner)
    slot = Slot(here, here, here, None, None, {"legacy": here}, "legacy")
    return Route(
        "default", DEFAULT_DOMAIN, is_read=None, native=False, sources=(), slots=(), keyless=slot, identities=()
    )


def _walk(node: _Node, parts: Sequence[bytes], at: int, values: list[bytes]) -> Route | None:
    if at == len(parts):
        return node.route
    if (literal := node.literal.get(parts[at])) is not None:
        found = _walk(literal, parts, at + 1, values)
        if found is not None:
            return found
    if node.open is not None and parts[at]:
        values.append(parts[at])
        found = _walk(node.open, parts, at + 1, values)
        if found is not None:
            return found
        values.pop()
    return None
