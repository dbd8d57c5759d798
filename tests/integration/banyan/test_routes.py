"""At each start the gateway's table says what was compiled, under a version that goes on from the last one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis

from banyan.servers import Redis
from banyan.stack import config as configs
from banyan.stack.config import Config
from banyan.stack.home import Home
from banyan.stack.routes import carry_on, following
from gateway.control import stored
from gateway.control.table import RouteTable, Upstream, decode_table, encode_table

OLD, NEW = Upstream(["http://127.0.0.1:5000"]), Upstream(["http://127.0.0.1:5001"])


def table(version: int, upstream: Upstream = OLD) -> RouteTable:
    return RouteTable(version=version, upstreams={"legacy": upstream}, domains={})


@pytest.fixture
def config(tmp_path: Path, redis_server: Redis) -> Config:
    home = Home(tmp_path / "home")
    home.create()
    made = configs.make(home)
    made.env["BANYAN_REDIS_URL"] = redis_server.url
    return made


def compiled(config: Config, upstream: Upstream) -> None:
    Path(config["GATEWAY_TABLE"]).write_bytes(encode_table(table(1, upstream)))


def state(config: Config) -> Path:
    return Path(config["GATEWAY_STATE_DIR"])


def starts_with(config: Config) -> RouteTable:
    """As the gateway looks for it."""
    return stored.load(state(config) / "table.json", Path(config["GATEWAY_TABLE"]))


def test_the_first_start_takes_the_compiled_table(config):
    compiled(config, OLD)
    carry_on(config)
    assert starts_with(config) == table(1)


def test_other_ports_are_a_new_version_which_the_audit_tells(config):
    stored.save(state(config) / "table.json", table(7))
    compiled(config, NEW)
    carry_on(config)
    assert starts_with(config) == table(8, NEW)
    [entry] = [json.loads(line) for line in (state(config) / "audit.jsonl").read_text().splitlines()]
    assert (entry["actor"], entry["before"]["version"], entry["after"]["version"]) == ("banyan up", 7, 8)
    carry_on(config)
    assert starts_with(config) == table(8, NEW), "nothing changed since"


def test_a_table_that_was_not_durable_yet_counts(config):
    stored.save(state(config) / "table.json", table(7))
    stored.announce(state(config) / "table.json", stored.prepare(state(config) / "table.json", table(8)))
    compiled(config, NEW)
    carry_on(config)
    assert starts_with(config).version == 9


def test_what_redis_has_newer_is_gone_past(config, redis_server):
    stored.save(state(config) / "table.json", table(7))
    with redis.Redis.from_url(redis_server.url) as client:
        client.hset("banyan:table", mapping={"version": 30, "table": encode_table(table(30, NEW))})
        compiled(config, OLD)
        carry_on(config)
        client.delete("banyan:table")
    assert starts_with(config) == table(31)


def test_without_a_table_the_audit_says_where_the_versions_were(config):
    """A stack of an older version threw the gateway's table away at each start."""
    state(config).mkdir()
    (state(config) / "audit.jsonl").write_text('{"before":{"version":4},"after":{"version":5}}\n')
    (state(config) / "table.json").write_text("not a table")
    compiled(config, OLD)
    carry_on(config)
    assert starts_with(config).version == 6
    assert decode_table((state(config) / "table.json").read_bytes()).upstreams["legacy"] == OLD


def test_an_equal_table_keeps_its_version():
    assert following(table(1), table(7), 7) is None
    assert following(table(1), table(7), 9) == table(10)
    assert following(table(1), None, 0) is None
