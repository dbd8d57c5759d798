"""A route table compiled for matching: exact paths in a dictionary, templates in a trie, a slot per bucket."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Literal
from urllib.parse import unquote_to_bytes

from gateway.control.rules import parameters, segments
from gateway.control.table import Domain, Operation, RouteTable, Wave
from gateway.limits.rules import Limits, limits_of
from gateway.routing.bucket import BUCKETS, bucket
from gateway.routing.canary import taken
from gateway.routing.conditions import Condition, Test, all_met, narrowest_first
from gateway.routing.decision import Decision, Slot, SlotMaker
from gateway.routing.keys import Finder, Head, Source, finder, first_key, identity, source

DEFAULT_DOMAIN = "default"
NO_VALUES: tuple[bytes, ...] = ()
IDENTITY_KINDS = ("header:", "cookie:", "jwt:")  # what a client carries from request to request


class Route:
    """One operation, ready to decide by."""

    __slots__ = (
        "auth",
        "domain",
        "id",
        "idempotent",
        "identities",
        "is_read",
        "keyless",
        "limits",
        "native",
        "parameters",
        "pinnable",
        "slots",
        "sources",
        "template",
        "timeout",
        "try_timeout",
        "uniform",
        "when",
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
        identities: Sequence[Finder],
        parameters: Sequence[Source] = (),
        when: Sequence[Condition] = (),
        distinct: Set[Slot] | None = None,
        limits: Limits | None = None,
        auth: Literal["required"] | None = None,
    ) -> None:
        self.id = operation_id
        self.template = ""  # of its path; empty: that of no operation
        self.timeout: float | None = None  # seconds; as `Operation.timeout`
        self.try_timeout: float | None = None
        self.domain = domain
        self.is_read = is_read  # None: told by the method
        self.native = native
        self.idempotent = idempotent
        self.sources = tuple(sources)
        self.slots = tuple(slots)
        self.keyless = keyless
        distinct = distinct or {*self.slots, keyless}
        # Most of the time all buckets fare alike, and no key is needed to know the side.
        self.uniform = keyless if len(distinct) == 1 else None
        self.identities = tuple(identities)
        self.parameters = tuple(parameters)
        self.when = tuple(when)
        self.limits = limits
        self.auth = auth
        self.pinnable = any(slot.pinned is not slot.read for slot in distinct)

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
        found = [identity(value) for find in self.identities for value in find(head, NO_VALUES) if value]
        found += [identity(value) for read in self.parameters if (value := read(head, values))]
        if (key := self.key_of(head, values)) is not None:
            found.append(key.encode())
        return found


class _Node:
    __slots__ = ("literal", "open", "route", "variants")

    def __init__(self) -> None:
        self.literal: dict[bytes, _Node] = {}
        self.open: _Node | None = None
        self.route: Route | None = None  # without conditions
        self.variants: list[tuple[Test, Route]] = []  # with conditions, the narrowest first

    def add(self, route: Route) -> None:
        if not route.when:
            self.route = route
            return
        routes = [known for _, known in self.variants] + [route]
        ordered = narrowest_first([(known.when, number) for number, known in enumerate(routes)])
        self.variants = [(all_met(routes[number].when), routes[number]) for number in ordered]

    def choose(self, head: Head | None) -> Route | None:
        if head is not None:
            for test, route in self.variants:
                if test(head):
                    return route
        return self.route


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

    def match(self, method: bytes, path: bytes, head: Head | None = None) -> tuple[Route, Sequence[bytes]]:
        """The route of a request and the values of its template's parameters.

        Literals win over parameters, then conditions over none. Without `head` no condition is met.
        """
        if b"%" not in path:
            found = self._exact.get(method + b" " + path)
            if found is not None:
                return found, NO_VALUES
        trie = self._tries.get(method)
        if trie is not None:
            values: list[bytes] = []
            route = _walk(trie, [unquote_to_bytes(part) for part in path.split(b"/")[1:]], 0, values, head)
            if route is not None:
                return route, values
        if method == b"HEAD":
            return self.match(b"GET", path, head)
        return self.default, NO_VALUES

    def _add_domain(self, name: str, domain: Domain) -> None:
        shares = {"shadowed": domain.shadow_percent > 0, "rehearsed": domain.shadow_writes > 0}
        maker = SlotMaker(name, domain.service, self.version, **shares)
        made, keyless = _slots(maker, domain.waves)
        slots, distinct = tuple(made), {*made, keyless}  # for all its routes: a table is live in milliseconds
        native = maker.native(any(slot.write.hold for slot in distinct))
        specs = {spec for op in domain.operations for spec in op.key if spec.startswith(IDENTITY_KINDS)}
        identities = [finder(spec, ()) for spec in sorted(specs)]
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
                when=operation.when,
                distinct={native} if operation.native else distinct,
                limits=limits_of(name, domain.limits, operation),
                auth=operation.auth,
            )
            route.template = operation.path
            route.timeout, route.try_timeout = operation.timeout, operation.try_timeout
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
        node.add(route)
        if not parameters(operation.path):
            name = method + b" " + operation.path.encode()
            if node.route is not None and not node.variants:
                self._exact[name] = node.route
            else:
                self._exact.pop(name, None)  # the walk asks for conditions, this short cut does not


def _slots(maker: SlotMaker, waves: list[Wave]) -> tuple[list[Slot], Slot]:
    slots: list[Slot] = []
    keyless = maker.keyless(waves)
    for wave in sorted(waves, key=lambda wave: wave.bucket_from):
        outside = keyless if len(waves) == 1 else maker.of_wave(wave, in_canary=False)
        share = wave.canary_percent if wave.phase == "canary" else 0
        among = taken(maker.domain, wave.bucket_from, wave.bucket_to, share) if share else frozenset()
        inside = maker.of_wave(wave, in_canary=True) if among else outside
        slots += [inside if number in among else outside for number in range(wave.bucket_from, wave.bucket_to)]
    assert len(slots) == BUCKETS, "the table was validated"
    return slots, keyless


def _default_route(version: int) -> Route:
    banner = f"Banyan-Route: domain={DEFAULT_DOMAIN}; side=legacy; reason=default; version={version}\r\n".encode()
    here = Decision(DEFAULT_DOMAIN, "legacy", "legacy", "default", banner)
    slot = Slot(here, here, here, None, None, {"legacy": here}, "legacy")
    return Route(
        "default", DEFAULT_DOMAIN, is_read=None, native=False, sources=(), slots=(), keyless=slot, identities=()
    )


def _walk(node: _Node, parts: Sequence[bytes], at: int, values: list[bytes], head: Head | None) -> Route | None:
    if at == len(parts):
        return node.choose(head) if node.variants else node.route
    if (literal := node.literal.get(parts[at])) is not None:
        found = _walk(literal, parts, at + 1, values, head)
        if found is not None:
            return found
    if node.open is not None and parts[at]:
        values.append(parts[at])
        found = _walk(node.open, parts, at + 1, values, head)
        if found is not None:
            return found
        values.pop()
    return None
