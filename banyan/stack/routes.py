"""The route table at a start: ledger and databases say what is in it, its version goes on from the last one."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from banyan.stack.config import Config
from gateway.control import stored
from gateway.control.audit import Audit
from gateway.control.table import RouteTable
from gateway.errors import TableRefused

_PATIENCE = 3  # seconds for Redis, which was started a moment ago


def carry_on(config: Config) -> None:
    """Give the gateway the table that was just compiled, under a version that nobody has seen.

    Ports may be others than last time, so the gateway must not start from the table of then; and an older version would
    let clients of the admin API, the audit and other nodes take it for one that they know.
    """
    state = Path(config["GATEWAY_STATE_DIR"])
    known, compiled = _kept(state / "table.json"), stored.load_file(Path(config["GATEWAY_TABLE"]))
    audit = Audit(state / "audit.jsonl")
    elsewhere = max(_audited(audit), _in_redis(config["BANYAN_REDIS_URL"]))
    wanted = following(compiled, known, elsewhere)
    if wanted is None:
        return
    before = known or RouteTable(version=elsewhere, upstreams={}, domains={})
    audit.add("banyan up", "the stack was started again", before, wanted)
    stored.save(state / "table.json", wanted)


def following(compiled: RouteTable, known: RouteTable | None, elsewhere: int) -> RouteTable | None:
    """Pure. None: the gateway starts from what it has, or from its first table."""
    newest = max(known.version if known else 0, elsewhere)
    if newest == 0:
        return None
    if known is not None and known.version == newest and msgspec.structs.replace(compiled, version=newest) == known:
        return None
    return msgspec.structs.replace(compiled, version=newest + 1)


def _kept(path: Path) -> RouteTable | None:
    try:
        return stored.kept(path)
    except (OSError, TableRefused):
        return None


def _audited(audit: Audit) -> int:
    """The last version that the audit tells of; 0 when it tells of none."""
    with contextlib.suppress(msgspec.DecodeError):
        return max((int(entry["after"]["version"]) for entry in audit.newest(2)), default=0)
    return 0


def _in_redis(url: str) -> int:
    """The version that all nodes agreed on; 0 when Redis knows none. The gateway starts without Redis, and so do we."""
    import redis  # slow to import, and only who starts a stack asks

    from gateway.control.spread import KEY

    with (
        contextlib.suppress(redis.RedisError),
        redis.Redis.from_url(url, socket_timeout=_PATIENCE, socket_connect_timeout=_PATIENCE) as client,
    ):
        version = client.hget(KEY, "version")
        return int(version) if isinstance(version, bytes) and version.isdigit() else 0
    return 0
