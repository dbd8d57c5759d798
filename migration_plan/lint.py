"""The plan's rules that a schema cannot say: names that exist, routes without overlap, waves without gaps."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

from cdc import mapping as mappings
from gateway.control.comparison import problems_of_comparison
from gateway.control.front_rules import of_front
from gateway.control.overlaps import clashes, of_conditions
from gateway.control.resilience import is_repeatable, problems_of_outliers, problems_of_shedding, problems_of_times
from gateway.control.rules import READ_METHODS, parameters
from migration_plan.document import Document
from migration_plan.plan import BUCKETS, Domain, Operation, Plan


def problems(plan: Plan, doc: Document, *, mappings: bool = True) -> list[str]:
    """Every breach, as `file:line:column: what; what to do`."""
    found = list(_names(plan, doc))
    for name, domain in plan.domains.items():
        found += _waves(name, domain, doc)
        found += _approvers(name, domain, plan, doc)
        found += _steps(name, domain, doc)
        found += _stages(name, domain, doc)
        found += _operations(name, domain, doc)
        found += _shadow(name, domain, plan, doc)
        if mappings:
            found += _mapping(plan, name, doc)
    found += [doc.problem(at, f"{at}: {reason}") for at, reason in of_front(plan, in_plan=True)]
    return found + list(_upstreams(plan, doc)) + list(_routes(plan, doc))


def _names(plan: Plan, doc: Document) -> Iterator[str]:
    if plan.legacy_database not in plan.databases:
        yield doc.problem(
            "legacy.database", f"no database {plan.legacy_database!r}; there are: {', '.join(plan.databases)}"
        )
    if plan.legacy_upstream != "legacy" or "legacy" not in plan.upstreams:
        yield doc.problem(
            "legacy.upstream", "the monolith's upstream is named 'legacy': what matches no route goes there"
        )
    for name, domain in plan.domains.items():
        at = f"domains.{name}"
        if domain.upstream not in plan.upstreams:
            yield doc.problem(
                f"{at}.upstream", f"no upstream {domain.upstream!r}; there are: {', '.join(plan.upstreams)}"
            )
        if domain.database not in plan.databases:
            yield doc.problem(
                f"{at}.database", f"no database {domain.database!r}; there are: {', '.join(plan.databases)}"
            )
        if domain.database == plan.legacy_database or domain.upstream == plan.legacy_upstream:
            yield doc.problem(
                at,
                f"domain {name} would move from the monolith to itself; give it an upstream and a database of its own",
            )


def _upstreams(plan: Plan, doc: Document) -> Iterator[str]:
    for name, upstream in plan.upstreams.items():
        found = list(problems_of_outliers(upstream.outliers))
        if upstream.shedding is not None:
            found += problems_of_shedding(upstream.shedding)
        for problem in found:
            yield doc.problem(f"upstreams.{name}.{problem.partition(':')[0]}", f"{name}: {problem}")


def _waves(name: str, domain: Domain, doc: Document) -> Iterator[str]:
    at = f"domains.{name}.waves"
    for number, wave in enumerate(domain.waves):
        if wave.bucket_from >= wave.bucket_to:
            yield doc.problem(
                f"{at}[{number}]", f"wave {number} of {name} is empty: bucket_from must be below bucket_to"
            )
    edges = [wave.bucket_from for wave in domain.waves] + [BUCKETS]
    if edges[0] != 0:
        yield doc.problem(f"{at}[0]", f"wave 0 of {name} begins at bucket {edges[0]}; the first wave begins at 0")
    for number, (wave, (_, following)) in enumerate(zip(domain.waves, pairwise(edges), strict=True)):
        if wave.bucket_to < following:
            yield doc.problem(
                f"{at}[{number}]",
                f"buckets {wave.bucket_to} to {following} of {name} are in no wave;"
                f" waves follow each other up to {BUCKETS}",
            )
        elif wave.bucket_to > following:
            yield doc.problem(
                f"{at}[{number}]",
                f"waves {number} and {number + 1} of {name} overlap from bucket {following}; end wave {number} there",
            )


def _approvers(name: str, domain: Domain, plan: Plan, doc: Document) -> Iterator[str]:
    for number, approver in enumerate(domain.approvers):
        role = approver.removeprefix("role:")
        if role != approver and role not in plan.roles:
            known = ", ".join(plan.roles) or "none"
            at = f"domains.{name}.approvers[{number}]"
            yield doc.problem(at, f"{name} names the role {role!r}; there are: {known}; write it into roles")


def _steps(name: str, domain: Domain, doc: Document) -> Iterator[str]:
    if any(a >= b for a, b in pairwise(domain.canary_steps)):
        yield doc.problem(
            f"domains.{name}.canary_steps", f"the canary steps of {name} must grow: {list(domain.canary_steps)}"
        )


def _stages(name: str, domain: Domain, doc: Document) -> Iterator[str]:
    gates = domain.gates
    if gates.breach_lag_ms < gates.max_lag_ms:
        yield doc.problem(
            f"domains.{name}.gates.breach_lag_ms",
            f"{name}: the steward would step back at {gates.breach_lag_ms} ms of lag, where a step forward still passes"
            f" (max_lag_ms {gates.max_lag_ms}); make breach_lag_ms the greater",
        )
    if gates.p99_ratio < gates.p95_ratio:
        yield doc.problem(
            f"domains.{name}.gates.p99_ratio", f"{name}: p99 varies more than p95; make p99_ratio the greater"
        )
    if gates.retained_mb is not None and gates.retained_mb > domain.streams.slot_keep_mb:
        yield doc.problem(
            f"domains.{name}.gates.retained_mb",
            f"{name}: a slot is lost at {domain.streams.slot_keep_mb} MiB (streams.slot_keep_mb), before"
            f" {gates.retained_mb} are reached; make retained_mb the smaller",
        )


def _operations(name: str, domain: Domain, doc: Document) -> Iterator[str]:
    for number, operation in enumerate(domain.operations):
        at = f"domains.{name}.operations[{number}]"
        if operation.kind == "read" and operation.method not in READ_METHODS:
            yield doc.problem(
                at, f"{operation.id} is a {operation.method}, but a read is GET or HEAD; write kind: write"
            )
        for source in operation.key:
            kind, _, key = source.partition(":")
            if kind == "path" and key not in parameters(operation.path):
                yield doc.problem(
                    at, f"{operation.id} takes its key from {source}, but {operation.path} has no {{{key}}}"
                )
        for problem in problems_of_times(operation.timeout, operation.try_timeout, repeatable=is_repeatable(operation)):
            yield doc.problem(f"{at}.{problem.partition(' ')[0]}", f"{operation.id}: {problem}")
        for problem in of_conditions(operation.when):
            yield doc.problem(f"{at}.when", f"{operation.id}: {problem}")
        several = len(domain.waves) > 1 and operation.without_key is None
        if operation.kind == "write" and not operation.key and several:
            yield doc.problem(
                at,
                f"{operation.id} writes without a key, but {name} has {len(domain.waves)} waves;"
                f" give it a key, or {name} one wave, or say what it does `without_key` (docs/plan.md)",
            )
        if operation.without_key is not None and (operation.key or operation.kind == "read"):
            yield doc.problem(f"{at}.without_key", f"{operation.id}: `without_key` is for writes that have no key")


def _shadow(name: str, domain: Domain, plan: Plan, doc: Document) -> Iterator[str]:
    at = f"domains.{name}"
    rules = [(f"{at}.compare", domain.compare)]
    rules += [(f"{at}.operations[{number}].compare", op.compare) for number, op in enumerate(domain.operations)]
    for place, compare in rules:
        for where, what in problems_of_comparison(compare):
            yield doc.problem(f"{place}.{where}" if where else place, what)
    upstream = plan.upstreams.get(domain.upstream)
    if domain.shadow_writes and upstream is not None and not upstream.rehearses:
        yield doc.problem(
            f"{at}.shadow_writes",
            f"{domain.upstream} would do each of these writes a second time; write rehearses: true at the upstream"
            " if it rolls back what carries Banyan-Dry-Run, or leave shadow_writes at 0",
        )


def _routes(plan: Plan, doc: Document) -> Iterator[str]:
    every = [
        (f"domains.{name}.operations[{number}]", operation)
        for name, domain in plan.domains.items()
        for number, operation in enumerate(domain.operations)
    ]
    for (first_at, first), (second_at, second) in combinations(every, 2):
        where = f"(line {doc.line(first_at)})"
        if first.id == second.id:
            yield doc.problem(second_at, f"the operation id {second.id} is taken {where}; ids are unique in a plan")
    for (first_at, first), (second_at, second), why in clashes(every, _operation):
        what = "" if why == "overlap" else f" ({why.partition(': ')[2]})"
        yield doc.problem(
            second_at,
            f"{second.method} {second.path} of {second.id} overlaps {first.method} {first.path} of {first.id}"
            f" (line {doc.line(first_at)}){what}; keep one",
        )


def _operation(placed: tuple[str, Operation]) -> Operation:
    return placed[1]


def _mapping(plan: Plan, name: str, doc: Document) -> Iterator[str]:
    at = f"domains.{name}.mapping"
    path = plan.mapping_path(name)
    if not path.is_file():
        yield doc.problem(at, f"no mapping file {path}; write it, or correct the path (relative to the plan's folder)")
        return
    try:
        mapping = mappings.load(path)
    except mappings.MappingError as error:
        yield str(error)
        return
    if mapping.domain != name:
        yield doc.problem(at, f"{path} maps domain {mapping.domain!r}, not {name}; correct one of them")
    yield from _splittable(plan.domain(name), mapping, at, doc)
    yield from _policies(plan.domain(name), mapping, f"domains.{name}.streams.tables", doc)


def _policies(domain: Domain, mapping: mappings.Mapping, at: str, doc: Document) -> Iterator[str]:
    """A policy for a table that nobody maps would never be asked for."""
    known = {name for table in mapping.tables for name in (table.legacy, table.service)}
    for name in domain.streams.tables:
        if name not in known:
            yield doc.problem(at, f"{at}: no table {name!r} in the mapping; there are: {', '.join(sorted(known))}")


def _splittable(domain: Domain, mapping: mappings.Mapping, at: str, doc: Document) -> Iterator[str]:
    """Rows of a domain with several waves must say which wave they belong to."""
    for table in mapping.tables:
        if len(domain.waves) > 1 and table.direction == "both" and table.bucket_key("legacy") is None:
            what = f"{table.legacy} has no bucket_key, but its domain has {len(domain.waves)} waves; name it"
            yield doc.problem(at, what)
