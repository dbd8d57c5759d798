"""`banyan model`: every state of a switch within bounds, looked at; and that the model finds the mistakes it should."""

from __future__ import annotations

import json
import sys

import click


@click.command()
@click.option("--keys", type=click.IntRange(1, 2), default=1, show_default=True, help="2: the larger bounds, minutes.")
@click.option("--world", "named", help="Only this one: gateways, writers or controllers.")
@click.option("--mutant", "mutant", help="Break the protocol in this way, and show how it goes wrong.")
@click.option("--mutants", is_flag=True, help="Name the mutants.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line.")
def model(keys: int, named: str | None, mutant: str | None, mutants: bool, as_json: bool) -> None:
    """Run the real switch and recovery against every order of events, crash and stale table within bounds.

    Exit code 1 when a state breaks an invariant, or cannot be left; the shortest way there is printed.
    """
    from migration_plan.model import LARGE, MUTANTS, QUICK, explore

    known = {one.name: one for one in MUTANTS}
    if mutants:
        for one in MUTANTS:
            click.echo(f"{one.name:<38} {one.what}")
        return
    if mutant is not None:
        if mutant not in known:
            raise click.ClickException(f"no mutant {mutant!r}; there are: {', '.join(known)}")
        click.echo(f"{known[mutant].what}\n{known[mutant].explore()}")
        return
    worlds = QUICK if keys == 1 else LARGE
    if named is not None and named not in worlds:
        raise click.ClickException(f"no world {named!r}; there are: {', '.join(worlds)}")
    figures = {}
    well = True
    for name, limits in worlds.items():
        if named in (None, name):
            found = explore(limits)
            well = well and found.problem is None
            figures[name] = {
                "states": found.states, "steps": found.steps, "seconds": round(found.seconds, 1),
                "problem": found.problem,
            }  # fmt: skip
            click.echo(f"{name}: {found}", err=as_json)
    if as_json:
        click.echo(json.dumps({"model": "switch", "keys": keys, "worlds": figures, "well": well}))
    if not well:
        sys.exit(1)
