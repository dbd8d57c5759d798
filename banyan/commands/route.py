"""`banyan route …`: where a request goes and why, off line; a signed header that lets a tester choose."""

from __future__ import annotations

import re
import time
from pathlib import Path

import click

from banyan.commands.plan import known, opened
from banyan.environment import load_environment
from gateway.control.stored import load_file
from gateway.control.table import RouteTable
from gateway.errors import GatewayError
from gateway.policies.override import LONGEST_SECONDS, override_key, sign
from gateway.routing.explain import as_json as explained_as_json
from gateway.routing.explain import explain as explained
from migration_plan import compile as compiling

_DURATION = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType):
    """`90s`, `15m`, `1h`, `7d`, as seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _DURATION.fullmatch(str(value))
        seconds = int(match[1]) * _SECONDS[match[2]] if match else 0
        if not 0 < seconds <= LONGEST_SECONDS:
            self.fail(f"{value!r} is no time up to 7d: write 90s, 15m, 1h or 2d", param, ctx)
        return seconds


@click.group()
def route() -> None:
    """Explain where a request goes; let a tester choose."""


@route.command(short_help="Say which side answers METHOD PATH, and why.")
@click.argument("method")
@click.argument("path")
@click.option("--key", help="The partition key, instead of finding it in the request.")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="A header of the request.")
@click.option("--cookie", "cookies", multiple=True, metavar="NAME=VALUE", help="A cookie of the request.")
@click.option("--table", "file", type=click.Path(path_type=Path), help="A route table (JSON).")
@click.option("--plan", "planned", is_flag=True, help="The table of the plan and the ledger, not the gateway's last.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def explain(
    method: str,
    path: str,
    key: str | None,
    headers: tuple[str, ...],
    cookies: tuple[str, ...],
    file: Path | None,
    planned: bool,
    as_json: bool,
) -> None:
    """Say which side answers METHOD PATH, why, and what else could happen. Asks no gateway.

    By the table of --table; else by the last known good one of this machine's gateway; else by the plan and the ledger.
    """
    jar = [f"Cookie: {'; '.join(cookies)}"] if cookies else []
    try:
        table, where = _table(file, planned)
        found = explained(table, method.upper(), path, [*headers, *jar], key)
    except GatewayError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        click.echo(explained_as_json(found, table=where).decode())
        return
    for line in found.lines():
        click.echo(line)
    click.echo(f"from: {where}")


def _table(file: Path | None, planned: bool) -> tuple[RouteTable, str]:
    if file is not None:
        return load_file(file), str(file)
    state = load_environment().get("GATEWAY_STATE_DIR")
    kept = Path(state) / "table.json" if state else None
    if kept is not None and kept.exists() and not planned:
        return load_file(kept), f"the gateway's last known good table, {kept}"
    with opened() as context:
        table = compiling.compile_table(context.plan, *known(context), 1, context.env)
        return table, f"the plan {context.plan.path} and the ledger"


@route.command(short_help="Print a signed header that sends a tester's reads to a side.")
@click.argument("domain")
@click.argument("side", type=click.Choice(["legacy", "service"]))
@click.option("--for", "seconds", type=Duration(), default="1h", show_default=True, help="How long it holds.")
def override(domain: str, side: str, seconds: int) -> None:
    """Print a signed header that sends its bearer's reads of DOMAIN to SIDE.

    Whoever has it can use it until it expires. Writes go to the owner all the same.
    """
    try:
        key = override_key(load_environment())
    except GatewayError as error:
        raise click.ClickException(str(error)) from error
    if key is None:
        raise click.ClickException("there is no key to sign with: set GATEWAY_OVERRIDE_KEY here and at the gateway")
    with opened() as context:
        context.plan.domain(domain)
    click.echo(f"Banyan-Override: {sign(key, domain, side, int(time.time()) + seconds)}")
