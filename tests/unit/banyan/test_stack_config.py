"""The stack's configuration: free ports, kept secrets, variables only for whom they are."""

import socket
import stat

import pytest

from banyan.errors import PortInUse, StackError
from banyan.stack import config, specs
from banyan.stack.home import Home


@pytest.fixture
def home(tmp_path) -> Home:
    made = Home(tmp_path / "home")
    made.create()
    return made


def test_every_listener_has_a_port_of_its_own(home):
    ports = [v for k, v in config.make(home).env.items() if k.startswith("BANYAN_PORT_")]
    assert len(ports) == len(set(ports)) > 10


def test_secrets_survive_a_restart_and_ports_do_while_they_are_free(home):
    first = config.make(home)
    first.write()
    assert config.make(home).env == first.env


def test_a_port_that_somebody_took_is_replaced(home):
    first = config.make(home)
    first.write()
    with socket.socket() as other:
        other.bind(("127.0.0.1", first.port("legacy")))
        other.listen()
        assert config.make(home).port("legacy") != first.port("legacy")


def test_a_port_asked_for_by_number_and_taken_is_refused(home):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} for gateway"):
            config.make(home, gateway_port=port)


def test_two_listeners_at_one_port_are_refused(home):
    with pytest.raises(StackError, match="gateway and console cannot both have port 9000"):
        config.make(home, gateway_port=9000, console_port=9000)


def test_a_port_asked_for_is_not_given_to_another_that_had_it_last_time(home):
    first = config.make(home)
    first.write()
    wanted = first.port("gateway")
    again = config.make(home, console_port=wanted)
    assert again.port("console") == wanted
    assert again.port("gateway") != wanted


def test_the_file_with_the_secrets_is_its_owners_alone(home):
    config.make(home).write()
    assert stat.S_IMODE(home.env_file.stat().st_mode) == 0o600


def test_a_broker_of_the_users_is_known_at_the_next_start_and_in_the_next_shell(home, monkeypatch):
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "broker:9092")
    monkeypatch.setenv("KAFKA_USERNAME", "ann")
    config.make(home).write()
    monkeypatch.delenv("KAFKA_USERNAME")
    monkeypatch.delenv("KAFKA_BOOTSTRAP_SERVERS")
    later = config.make(home)
    assert later.pick("KAFKA_*") == {"KAFKA_BOOTSTRAP_SERVERS": "broker:9092", "KAFKA_USERNAME": "ann"}
    assert specs.streams(later)[0].env["KAFKA_BOOTSTRAP_SERVERS"] == "broker:9092"
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "other:9092")
    assert config.make(home).pick("KAFKA_*") == {"KAFKA_BOOTSTRAP_SERVERS": "other:9092"}


def test_a_service_gets_neither_another_services_database_nor_the_owners(home):
    made = config.make(home)
    pricing = next(spec for spec in specs.services(made) if spec.name == "pricing")
    assert "PRICING_DATABASE_URL" in pricing.env
    others = [
        name for name in pricing.env if "DEVICES" in name or "OWNER" in name or name.startswith(("BANYAN_", "GATEWAY_"))
    ]
    assert others == ["GATEWAY_ASSERTION_KEY"]  # with which it checks the gateway's word on who calls


def test_the_console_has_no_token_of_its_own_to_change_anything(home):
    console = specs.console(config.make(home)).env
    assert "GATEWAY_VIEWER_TOKEN" in console
    assert "GATEWAY_ADMIN_TOKEN" not in console


def test_no_secret_stands_on_a_command_line(home):
    made = config.make(home)
    secrets = [v for k, v in made.env.items() if "PASSWORD" in k or k.endswith(("_KEY", "_TOKEN"))]
    everything = [
        specs.legacy(made),
        *specs.services(made),
        *specs.streams(made),
        specs.gateway(made),
        specs.console(made),
    ]
    for spec in everything:
        assert not [secret for secret in secrets if any(secret in argument for argument in spec.command)], spec.name


def test_the_gateway_sends_spans_where_whoever_starts_the_stack_says(home, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    assert specs.gateway(config.make(home)).env["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:4318"
