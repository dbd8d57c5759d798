"""`python -m gateway` as an operator calls it: one line for what is wrong."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from tests.integration.gateway.running import first, run
from tests.integration.gateway.upstream import Upstream

NOWHERE = (Upstream(port=1), Upstream(port=2))


def test_a_port_in_use_is_told_in_one_line(tmp_path: Path) -> None:
    table = first(tmp_path, NOWHERE)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for name in ("GATEWAY_LISTEN", "GATEWAY_ADMIN_LISTEN"):
            done = run(tmp_path / "state", "serve", **{"GATEWAY_TABLE": table, name: address})
            assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1), done.stderr
            assert f"cannot listen on {address}" in done.stderr
            assert name in done.stderr


def test_a_bad_table_is_told_in_one_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text('{"version":1,"upstreams":{},"colour":"red"}')
    for arguments in (("serve",), ("explain", "GET", "/", "--table", str(bad))):
        done = run(tmp_path / "state", *arguments, GATEWAY_TABLE=str(bad))
        assert (done.returncode, len(done.stderr.strip().splitlines())) == (1, 1), done.stderr
        assert "unknown field `colour`" in done.stderr


def test_explain_answers_off_line(tmp_path: Path) -> None:
    table = first(tmp_path, NOWHERE)
    began = time.monotonic()
    done = run(tmp_path, "explain", "GET", "/items/5", "--table", table, "--key", "42")
    assert done.returncode == 0, done.stderr
    assert "side: legacy\nreason: phase\n" in done.stdout
    assert "operation: items.get (read) of domain shop" in done.stdout
    assert time.monotonic() - began < 20
