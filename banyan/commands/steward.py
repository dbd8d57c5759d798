"""`banyan steward`: the process that watches gates, and steps back by itself."""

from __future__ import annotations

import functools
import signal
import threading
from urllib.parse import urlsplit

import click
import structlog

from banyan.commands.plan import Failure
from banyan.environment import load_environment
from cdc import logs
from migration_plan.context import Context
from migration_plan.errors import PlanError
from migration_plan.steward.announce import WEBHOOK, Announcer, Webhook
from migration_plan.steward.decide import POLL_S
from migration_plan.steward.serve import serve
from migration_plan.steward.watch import ACTOR, Steward


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Health and metrics [default: where $BANYAN_STEWARD_URL says].")
@click.option("--dry-run", is_flag=True, help="Watch, and say what would be done; do nothing.")
def steward(listen: str | None, dry_run: bool) -> None:
    """Watch the gates of each domain's stage until SIGTERM; step back, or freeze, when they fail.

    What it does in which stage is in the plan (`stages`). After it acted, the domain is frozen until a person says
    `banyan unfreeze`. It acts under the same lease as a person, who goes first.
    """
    logs.to_stderr()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    env = load_environment()
    address = listen or urlsplit(env.get("BANYAN_STEWARD_URL", "")).netloc or "127.0.0.1:0"
    try:
        webhook = Webhook(env[WEBHOOK]) if env.get(WEBHOOK) else None
        made = Steward(functools.partial(Context.from_env, env, ACTOR), Announcer(webhook), dry_run=dry_run)
        server = serve(address, made)
    except PlanError as error:
        raise Failure(error) from error
    log, stop = structlog.get_logger("steward"), threading.Event()
    log.info("started", listen=server.url, poll_s=POLL_S, webhook=webhook is not None, dry_run=dry_run)
    watching = threading.Thread(target=made.run, args=[stop], name="watch", daemon=True)
    watching.start()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    stop.set()
    watching.join(2 * POLL_S)
    made.close()
    server.close()
