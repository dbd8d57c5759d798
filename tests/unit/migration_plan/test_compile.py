"""What a plan becomes: stream files and the route table."""

from __future__ import annotations

import json

import msgspec
import pytest

from cdc.config import Stream
from gateway.control.table import decode_table
from migration_plan import plan as plans
from migration_plan.compile import compile_streams, compile_table, encode_table
from migration_plan.errors import NotConfigured
from migration_plan.journey import SERVICE, Stand

URLS = {f"BANYAN_{name}_URL": "http://127.0.0.1:5000" for name in ("LEGACY", "PRICING", "DEVICES", "NOTIFICATIONS")}


@pytest.fixture(scope="module")
def plan() -> plans.Plan:
    return plans.load()


def test_every_stream_is_one_that_the_capture_accepts(plan: plans.Plan) -> None:
    env = {"BANYAN_CDC_PRICING_REVERSE_URL": "http://127.0.0.1:9123", "BANYAN_REDIS_URL": "redis://127.0.0.1:1/0"}
    streams = compile_streams(plan, env)
    assert len(streams) == 6
    read = {name: msgspec.json.decode(json.dumps(stream), type=Stream) for name, stream in streams.items()}
    assert read["pricing.forward"].snapshot
    assert read["pricing.forward"].source_dsn_env == read["pricing.reverse"].target_dsn_env == "BANYAN_LEGACY_CDC_DSN"
    assert not read["pricing.reverse"].snapshot
    assert read["pricing.reverse"].listen == "127.0.0.1:9123"
    assert read["pricing.forward"].listen == "127.0.0.1:0"
    assert len({stream.slot for stream in read.values()}) == 6


def test_without_redis_a_stream_names_none(plan: plans.Plan) -> None:
    assert {stream["redis_url_env"] for stream in compile_streams(plan, {}).values()} == {None}


def test_the_first_table_sends_everything_to_legacy(plan: plans.Plan) -> None:
    table = decode_table(encode_table(compile_table(plan, {}, {}, 1, URLS)))
    assert {wave.owner for domain in table.domains.values() for wave in domain.waves} == {"legacy"}
    assert {wave.phase for domain in table.domains.values() for wave in domain.waves} == {"legacy"}
    assert {"/api/prices", "/v2/quotes/{id}"} <= {operation.path for operation in table.domains["pricing"].operations}


def test_the_table_says_what_databases_and_ledger_say(plan: plans.Plan) -> None:
    ownership = {("pricing", 0): ("service", 4), ("devices", 0): ("legacy", 2)}
    phases = {("pricing", 0): SERVICE, ("devices", 0): Stand("canary", 10)}
    table = compile_table(plan, ownership, phases, 7, URLS)  # type: ignore[arg-type]
    [pricing], [devices, *others] = table.domains["pricing"].waves, table.domains["devices"].waves
    assert (table.version, pricing.phase, pricing.owner, pricing.epoch) == (7, "service", "service", 4)
    assert (devices.phase, devices.canary_percent, devices.owner) == ("canary", 10, "legacy")
    assert [(wave.phase, wave.owner) for wave in others] == [("legacy", "legacy")] * 3


def test_an_upstream_may_have_several_servers(plan: plans.Plan) -> None:
    urls = {**URLS, "BANYAN_PRICING_URL": "http://127.0.0.1:1, http://127.0.0.1:2"}
    assert compile_table(plan, {}, {}, 1, urls).upstreams["pricing"].urls == [
        "http://127.0.0.1:1",
        "http://127.0.0.1:2",
    ]


def test_a_missing_url_is_named(plan: plans.Plan) -> None:
    with pytest.raises(NotConfigured, match="BANYAN_LEGACY_URL is not set: start the stack with `banyan up`"):
        compile_table(plan, {}, {}, 1, {})
