"""`banyan bench gateway` as a user calls it."""

from __future__ import annotations

import shutil

import msgspec
import pytest
from click.testing import CliRunner

from banyan.cli import cli
from banyan.errors import ServerMissing


@pytest.mark.bench
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_its_last_line_is_one_object_of_figures() -> None:
    done = CliRunner().invoke(cli, ["bench", "gateway", "--seconds", "2", "--json"], catch_exceptions=False)
    assert done.exit_code == 0
    report = msgspec.json.decode(done.stdout.strip().splitlines()[-1])
    assert report["bench"] == "gateway"
    assert report["figures"]["banyan"]["rps"] > 100
    assert report["figures"]["banyan"]["errors"] == 0
    assert {"envoy_rps", "envoy_p99", "nginx_rps"} <= report["ratios"].keys()
    for peer in ("envoy", "nginx"):
        assert report["figures"][peer] is not None or any(note.startswith(peer) for note in report["notes"])
    assert report["met"] in (True, False)


def test_without_wrk_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ServerMissing, match="apt-get install wrk"):
        CliRunner().invoke(cli, ["bench", "gateway"], catch_exceptions=False)
