"""`stream resume` and `stream recover`: streams that stand go on, when a person has made good what they stood for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from cdc import errors as cdc_errors
from cdc.config import Stream, dsn
from cdc.recover import recover as recover_stream
from cdc.runner import Runner
from cdc.schema.resume import resume as resume_stream
from cdc.snapshot import ask as asking
from cdc.snapshot import requests
from cdc.snapshot.requests import Request
from migration_plan.compile import DIRECTIONS
from migration_plan.context import Context
from migration_plan.errors import NotPrepared, PlanError, Refused, Unreachable
from migration_plan.ledger import Entry
from migration_plan.verbs import inplace

Follow = Callable[[Iterable[list[Request]]], list[Request]]
"""Shows where requests stand until they have ended; returns how."""


class Mended(msgspec.Struct, frozen=True):
    """`lines`: one for each stream that was looked at, and for each table that was read again; `changed`: at least one
    stream goes on; `whole`: nobody has to read anything any more."""

    domain: str
    verb: str
    changed: bool
    lines: list[str]
    whole: bool = True

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)


def resume(context: Context, domain: str, reason: str, directions: Sequence[str] = DIRECTIONS) -> Mended:
    """Every halted stream of the domain. Raises: Refused when one may not go on yet; those before it do."""
    lines, resumed = [], dict[str, str]()
    for stream in _streams(context, domain, directions):
        with _Explained(stream):
            done = resume_stream(stream, context.mapping(domain), *_ends(context, stream), context.actor, reason)
        lines.append(str(done))
        if done.what is not None:
            resumed[stream.name] = done.what
            _record(context, domain, "stream resume", reason, {"stream": stream.name, "was": done.what})
    return Mended(domain, "stream resume", bool(resumed), lines)


def recover(
    context: Context,
    domain: str,
    reason: str,
    directions: Sequence[str] = DIRECTIONS,
    *,
    force: bool = False,
    follow: Follow | None = None,
) -> Mended:
    """Every stream of the domain whose slot and position do not fit. What their processes then read again is waited for
    with `follow`, as long as they run.

    Raises: Refused, where writes would be lost.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))  # what it does is said in its answer
    lines, changed, whole = list[str](), False, True
    for stream in _streams(context, domain, directions):
        ends = _ends(context, stream)
        with _Explained(stream):
            runner = Runner(stream, context.mapping(domain), *ends)
            done = recover_stream(runner, ends[0], context.actor, reason, force=force)
        lines.append(str(done))
        if done.why is not None:
            changed = True
            measured = {"stream": stream.name, "was": done.why, "way": done.way, "rows": done.rows}
            _record(context, domain, "stream recover", reason, measured)
        if done.way == "refill":
            ended = _followed(stream, ends, follow) if follow is not None else []
            lines += map(requests.summary, ended)
            unread = follow is None or any(request.state in requests.OPEN for request in ended)
            whole = whole and not unread
            if follow is not None and unread:
                lines.append(f"{stream.name}: nobody reads them: start its process, and it goes on from there")
    return Mended(domain, "stream recover", changed, lines, whole)


def _followed(stream: Stream, ends: tuple[str, str], follow: Follow) -> list[Request]:
    with _Explained(stream):
        return follow(asking.watch_fill(stream, ends, time.sleep))


def _streams(context: Context, domain: str, directions: Sequence[str]) -> list[Stream]:
    context.plan.domain(domain)
    return [inplace.described(context, domain, direction) for direction in directions]


def _ends(context: Context, stream: Stream) -> tuple[str, str]:
    return dsn(stream.source_dsn_env, context.env), dsn(stream.target_dsn_env, context.env)


class _Explained:
    """The engine's errors as the plan's, with the stream's name."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __enter__(self) -> None:
        """Nothing to do."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        match error:
            case cdc_errors.Transient():
                raise Unreachable(f"{self._stream.name}: {error}") from error
            case cdc_errors.NotPrepared():
                raise NotPrepared(f"{self._stream.name}: {error}") from error
            case cdc_errors.NotReady() | cdc_errors.TargetOwns():
                raise Refused(str(error)) from error
            case cdc_errors.CdcError():
                raise PlanError(f"{self._stream.name}: {error}") from error


def _record(context: Context, domain: str, verb: str, reason: str, measured: Mapping[str, Any]) -> None:
    entry = Entry(
        domain=domain, verb=verb, step="done", run_id=verb, actor=context.actor, measured=dict(measured), reason=reason
    )
    context.ledger().append([entry], [])
