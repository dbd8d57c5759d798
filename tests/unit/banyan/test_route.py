"""`banyan route` on the command line."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from banyan.commands.route import route
from gateway.control.table import encode_table
from gateway.policies.override import side_of
from tests.unit.gateway.tables import table, wave

KEY = "k" * 32


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(route, list(arguments))
    return done.exit_code, done.output


def test_explain_by_a_table_file(tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    file.write_bytes(encode_table(table(wave(phase="canary", canary_percent=100))))
    code, text = run("explain", "get", "/books", "--cookie", "card=9", "--table", str(file))
    assert code == 0, text
    assert "side: service\nreason: canary\n" in text
    assert "key: '9'" in text
    code, text = run("explain", "GET", "/books/7", "--key", "42", "--table", str(file), "--json")
    found = json.loads(text)
    assert (found["key"], found["bucket"], found["operation"], found["version"]) == ("42", 744, "books.get", 7)
    code, text = run("explain", "GET", "/a/../b", "--table", str(file))
    assert code == 1
    assert "refuses this request with 400" in text


def test_explain_by_the_last_known_good_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "table.json").write_bytes(encode_table(table()))
    monkeypatch.setenv("GATEWAY_STATE_DIR", str(tmp_path))
    code, text = run("explain", "PUT", "/books")
    assert code == 0, text
    assert "near: books.list of library (GET /books): another method, GET" in text
    assert "last known good" in text


def test_explain_by_the_plan(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GATEWAY_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("BANYAN_LEDGER_DSN", "host=127.0.0.1 port=1 dbname=none")
    for name in ("LEGACY", "PRICING", "DEVICES", "NOTIFICATIONS"):
        monkeypatch.setenv(f"BANYAN_{name}_URL", "http://127.0.0.1:1")
    code, text = run("explain", "GET", "/api/prices", "--key", "42")
    assert code == 0, text
    assert "operation: prices.list (read) of domain pricing" in text
    assert "bucket 744" in text


def test_override_prints_a_header_that_the_gateway_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_OVERRIDE_KEY", KEY)
    code, text = run("override", "pricing", "service", "--for", "15m")
    assert code == 0, text
    name, _, value = text.strip().partition(": ")
    assert name == "Banyan-Override"
    assert side_of(KEY.encode(), value.encode(), "pricing", time.time()) == "service"
    assert f"exp={int(time.time()) + 900}"[:9] in value


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("override", "pricing", "service", "--for", "8d"), "no time up to 7d"),
        (("override", "pricing", "both"), "is not one of"),
        (("override", "shoes", "service"), "no domain 'shoes'"),
    ],
)
def test_a_wrong_override_is_refused(arguments: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_OVERRIDE_KEY", KEY)
    code, text = run(*arguments)
    assert code != 0
    assert words in text


def test_without_a_key_nothing_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_OVERRIDE_KEY", "")
    code, text = run("override", "pricing", "service")
    assert code == 1
    assert "set GATEWAY_OVERRIDE_KEY" in text
