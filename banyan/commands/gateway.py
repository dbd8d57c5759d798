"""`banyan gateway …`: look at the running gateway."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from banyan.commands.plan_views import err, out
from banyan.commands.stack import raise_on_signals
from banyan.commands.tail_view import row, summary
from banyan.environment import load_environment
from banyan.errors import StackError
from cdc.environment import missing
from gateway.control.client import AdminClient
from gateway.errors import AdminError, AdminRefused, AdminUnreachable
from gateway.tail.wanted import METHODS, BadFilter, wanted

QUIET_SECONDS = 5.0  # without a request until one says so
AGAIN_SECONDS = 20.0  # for which a gateway that goes away while one looks on (an upgrade) is looked for again


@click.group()
def gateway() -> None:
    """Look at the running gateway."""


@gateway.command()
@click.option("--domain", metavar="NAME", help="Only requests of this domain.")
@click.option("--side", type=click.Choice(["legacy", "service"]), help="Only what this side got.")
@click.option("--errors", is_flag=True, help="Only failures: --status 5xx.")
@click.option("--status", metavar="5xx|503", help="Only this class of statuses, or this one.")
@click.option("--method", type=click.Choice(METHODS, case_sensitive=False), help="Only this method.")
@click.option("--path", metavar="PATTERN", help="Only these paths, without their query; * stands for anything.")
@click.option("--sample", type=click.FloatRange(0, 1, min_open=True), help="Only a share of them: 0.1 is a tenth.")
@click.option("--json", "as_json", is_flag=True, help="Print the lines of the access log, one JSON object each.")
@click.option("--lines", type=click.IntRange(1), help="End after so many.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="End after so long.")
def tail(
    domain: str | None,
    side: str | None,
    errors: bool,
    status: str | None,
    method: str | None,
    path: str | None,
    sample: float | None,
    as_json: bool,
    lines: int | None,
    seconds: float | None,
) -> None:
    """Show the gateway's decisions as it takes them, until Ctrl-C.

    Works with and without an access log. A viewer's token is enough (GATEWAY_VIEWER_TOKEN, else GATEWAY_ADMIN_TOKEN).
    A crowd of requests is thinned out, and how many were not shown is said; the gateway is not held up.

    \b
    banyan gateway tail                                      all there is
    banyan gateway tail --domain pricing --side service      what the new service gets
    banyan gateway tail --errors                             what fails
    banyan gateway tail --path '/api/quotes*' --method POST  one kind of write
    banyan gateway tail --json --lines 100 | jq .ms          to look into
    """
    if errors and status:
        raise click.UsageError("--errors is --status 5xx: give one of them")
    filters: dict[str, str | float | None] = {
        "domain": domain, "side": side, "method": method, "path": path, "sample": sample,
        "status": "5xx" if errors else status,
    }  # fmt: skip
    try:
        wanted({name: str(value) for name, value in filters.items() if value is not None})
    except BadFilter as error:
        raise click.UsageError(str(error)) from error
    screen = _Screen(as_json=as_json, most=lines, seconds=seconds)
    raise_on_signals()
    with _admin() as admin, contextlib.suppress(KeyboardInterrupt):
        try:
            for line in _lines(admin, filters):
                if not screen.take(line):
                    break
        except AdminRefused as error:
            refusal = click.ClickException(error.detail)
            refusal.exit_code = 2
            raise refusal from error
        except AdminError as error:
            raise StackError(str(error)) from error
        except BrokenPipeError:  # whoever read our output has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    screen.close()


def _admin() -> AdminClient:
    env = load_environment()
    url, token = env.get("BANYAN_GATEWAY_ADMIN_URL"), env.get("GATEWAY_VIEWER_TOKEN") or env.get("GATEWAY_ADMIN_TOKEN")
    if not url or not token:
        raise StackError(missing("GATEWAY_VIEWER_TOKEN" if url else "BANYAN_GATEWAY_ADMIN_URL", env))
    return AdminClient(url, token)


def _lines(admin: AdminClient, filters: dict[str, str | float | None]) -> Iterator[dict[str, Any]]:
    """Raises: AdminError, at once when the gateway was away from the beginning."""
    heard, away = float("-inf"), False
    while True:
        try:
            for line in admin.tail(**filters):
                heard, away = time.monotonic(), False
                yield line
        except AdminUnreachable:
            if time.monotonic() - heard > AGAIN_SECONDS:
                raise
        if not away:
            away = True
            err.print(f"[yellow]note[/]: the gateway is away; looking for it for {AGAIN_SECONDS:.0f} s")
        time.sleep(0.2)


class _Screen:
    """What has been shown, and when it is enough."""

    def __init__(self, *, as_json: bool, most: int | None, seconds: float | None) -> None:
        self._as_json = as_json
        self._most = most
        self._began = time.monotonic()
        self._until = None if seconds is None else self._began + seconds
        self._last = self._began  # when there was a request, or it was said that there is none
        self._shown = 0
        self._failed = 0
        self._dropped = 0

    def take(self, line: dict[str, Any]) -> bool:
        """False: it is enough."""
        now = time.monotonic()
        if "event" in line or "error" in line:
            self._note(line)
            if now - self._last > QUIET_SECONDS:
                self._last = now + 1e9  # say it once, until there is a request
                err.print("[dim]no request so far[/]" if not self._shown else "[dim]no more requests[/]")
        else:
            self._last = now
            self._shown += 1
            self._failed += line["status"] >= 500
            self._show(line)
        return (self._most is None or self._shown < self._most) and (self._until is None or now < self._until)

    def _show(self, line: dict[str, Any]) -> None:
        if self._as_json:
            sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
            sys.stdout.flush()
        elif out.is_terminal:
            out.print(row(line, out.width), no_wrap=True, crop=True)
        else:
            sys.stdout.write(row(line).plain + "\n")
            sys.stdout.flush()

    def _note(self, line: dict[str, Any]) -> None:
        if "error" in line:
            err.print(f"[yellow]note[/]: {line['error']}")
        elif line["event"] == "dropped":
            self._dropped += line["count"]
        elif line["event"] == "worker away":
            err.print(f"[yellow]note[/]: worker {line['worker']} is away; its requests come when it is back")

    def close(self) -> None:
        err.print(f"[dim]{summary(self._shown, self._failed, self._dropped, time.monotonic() - self._began)}[/]")
