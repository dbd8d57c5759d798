"""The configuration: complete, or refused with the key's name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pi_agent.config import load
from pi_agent.errors import ConfigError
from pi_agent.model import Mode, Slot
from pi_agent.toml_lines import key_lines

GOOD = """
device_id = 17
token_file = "token"
gateway_url = "http://127.0.0.1:8000/"
flags_url = "http://127.0.0.1:8001"
state_dir = "state"
[timing]
poll_s = 5
max_v2_errors = 4
[battery]
capacity_wh = 8000
soc_max = 0.9
trace = "trace.jsonl"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("secret\n")
    return tmp_path


def write(folder: Path, text: str) -> Path:
    path = folder / "agent.toml"
    path.write_text(text)
    return path


def test_a_configuration_is_read_with_paths_relative_to_it(folder: Path) -> None:
    config = load(write(folder, GOOD))
    assert (config.device_id, config.token, config.gateway_url) == (17, "secret", "http://127.0.0.1:8000")
    assert (config.timing.poll_s, config.timing.max_v2_errors, config.battery.capacity_wh) == (5.0, 4, 8000)
    assert config.database == folder / "state" / "agent.db"
    assert config.battery.trace == folder / "trace.jsonl"


def test_the_token_is_not_shown(folder: Path) -> None:
    assert "secret" not in repr(load(write(folder, GOOD)))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("device_id = 17", "", "device_id is missing"),
        ("device_id = 17", 'device_id = "17"', "device_id must be a whole number"),
        ("device_id = 17", "device_id = true", "device_id"),
        ("device_id = 17", "device_id = 0", "device_id must be 1 or more"),
        ("device_id = 17", "device = 17", "unknown key device"),
        ("poll_s = 5", "pol_s = 5", "unknown key timing.pol_s"),
        ("poll_s = 5", "poll_s = 0", "timing.poll_s must be more than 0"),
        ("poll_s = 5", 'poll_s = "5"', "timing.poll_s must be a number"),
        ("poll_s = 5", "poll_s = nan", "timing.poll_s must be a number"),
        ("poll_s = 5", "stop_s = 30", "timing.stop_s"),
        ("max_v2_errors = 4", "max_v2_errors = 1.5", "timing.max_v2_errors must be a whole number"),
        ("soc_max = 0.9", "soc_max = 0.01", "battery.soc_min"),
        ("soc_max = 0.9", 'driver = "gpio"', "battery.driver 'gpio' is unknown"),
        ("soc_max = 0.9", 'driver = "modbus"', "battery.driver 'modbus' needs a table [modbus]"),
        ("capacity_wh = 8000", "capacity_wh = 0", "battery.capacity_wh"),
        ("http://127.0.0.1:8000/", "ftp://x", "gateway_url must be an http"),
        ("http://127.0.0.1:8000/", "http://[::1", "gateway_url must be an http"),
        ('token_file = "token"', 'token_file = "nowhere"', "cannot read token_file"),
        ("[battery]", "[battery", "is not TOML"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, old: str, new: str, named: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError, match=re.escape(named)):
        load(write(folder, GOOD.replace(old, new)))


def test_all_that_is_wrong_is_told_at_once_each_with_its_line(folder: Path) -> None:
    text = GOOD.replace("device_id = 17", 'device_id = "17"').replace("soc_max = 0.9", "soc_max = 2\nsoc_mix = 1")
    text += '[fallback]\nslots = "0000-0100 X1"\n'
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text.replace('state_dir = "state"\n', "")))
    assert [line.split(" must")[0].split(": known")[0] for line in str(caught.value).splitlines()] == [
        "agent.toml: state_dir is missing",
        "agent.toml:2: device_id",
        "agent.toml:11: battery.soc_min",
        "agent.toml:12: unknown key battery.soc_mix",
        "agent.toml:15: fallback.slots: slot '0000-0100 X1' is not of the form HHMM-HHMM C|D|H<watts>",
    ]


def test_keys_are_found_where_they_stand_and_not_in_texts_of_several_lines() -> None:
    text = 'a = 1\n[t]\nb = """\n[x]\nc = 2\n"""\n"d" = 3\n'
    assert key_lines(text) == {"a": 1, "t": 2, "t.b": 3, "t.d": 7}


def test_a_fallback_of_ones_own_is_read(folder: Path) -> None:
    config = load(write(folder, GOOD + '[fallback]\nslots = "0100-0500 C2000"\n'))
    assert config.fallback == (Slot(60, 300, Mode.CHARGE, 2000),)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*absent\.toml"):
        load(tmp_path / "absent.toml")


@pytest.mark.parametrize("token", ["", "  \n", "two\nlines", "nicht-ä"])
def test_a_token_that_no_header_can_carry_is_refused(folder: Path, token: str) -> None:
    (folder / "token").write_text(token)
    with pytest.raises(ConfigError, match="token_file"):
        load(write(folder, GOOD))
