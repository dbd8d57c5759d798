"""Viewers read, operators change, and the audit says who did what, when, why and by which token."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from gateway.control.client import AdminClient
from gateway.control.roles import Tokens
from gateway.errors import AdminUnauthorized, SettingsRefused
from tests.integration.gateway.running import TOKEN, Start, first, ready
from tests.integration.gateway.upstream import Upstream

VIEWER = "a-viewers-token-for-tests"
ANN = "the-token-of-ann-who-operates"


def tokens(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


async def test_viewers_read_and_operators_change(
    tmp_path: Path, sides: tuple[Upstream, Upstream], starting: Start
) -> None:
    file = tokens(tmp_path / "tokens", f"# who may\noperator ann {ANN}\nviewer tv viewer-on-the-wall-1\n")
    gateway = await ready(
        starting(GATEWAY_TABLE=first(tmp_path, sides), GATEWAY_VIEWER_TOKEN=VIEWER, GATEWAY_ADMIN_TOKENS=str(file))
    )
    url = f"http://{gateway.addresses['admin']}"

    def journey() -> None:
        for token in (VIEWER, "viewer-on-the-wall-1"):
            with AdminClient(url, token) as viewer:
                assert viewer.table().version == 1
                viewer.status()
                viewer.audit()
                with pytest.raises(AdminUnauthorized, match="viewer"):
                    viewer.patch_domain("shop", 1, "eve", "because I can", hold=True)
                with pytest.raises(AdminUnauthorized, match="viewer"):
                    viewer.put_table(viewer.table(), 1, "eve", "because I can")
        refused = httpx.patch(f"{url}/v1/domains/shop", headers={"Authorization": f"Bearer {VIEWER}"}, json={})
        assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")
        headers = {"Authorization": f"Bearer {ANN}", "Banyan-Actor": "somebody else", "If-Match": '"1"'}
        silent = httpx.patch(f"{url}/v1/domains/shop", headers=headers, json={"reason": " ", "phase": "shadow"})
        assert silent.status_code == 400, "why?"
        told = httpx.patch(
            f"{url}/v1/domains/shop",
            headers=headers | {"X-Request-Id": "ticket-7"},
            json={"reason": "look first", "phase": "shadow"},
        )
        assert told.json()["version"] == 2
        with AdminClient(url, TOKEN) as operator:
            operator.patch_domain("shop", 2, "bob", "back again", phase="legacy")
            one, other = operator.audit()
        assert (one["actor"], one["token"], one["reason"]) == ("somebody else", "ann", "look first")
        assert (one["call"], one["request_id"]) == ("PATCH /v1/domains/shop", "ticket-7")
        assert one["before"]["domains"]["shop"]["waves"][0]["phase"] == "legacy"
        assert one["after"]["domains"]["shop"]["waves"][0]["phase"] == "shadow"
        assert (other["actor"], other["token"]) == ("bob", "operator")
        assert other["request_id"]
        tokens(file, "viewer ann " + ANN)  # ann may only look from now on
        assert httpx.patch(f"{url}/v1/domains/shop", headers=headers, json={}).status_code == 403
        tokens(file, "nonsense")
        assert httpx.get(f"{url}/v1/table", headers=headers).status_code == 200, "the last good one stays in force"
        tokens(file, "")
        assert httpx.get(f"{url}/v1/table", headers=headers).status_code == 401

    await asyncio.to_thread(journey)
    assert await asyncio.to_thread(gateway.stop) == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("operator ann", ":1: a line is"),
        ("\nadmin ann 0123456789abcdef", ":2: a line is"),
        ("viewer ann short", ":1: a token has at least 16 characters"),
        ("viewer ann 0123456789abcdef\noperator bob 0123456789abcdef", ":2: this token stands here a second time"),
    ],
)
def test_a_bad_file_of_tokens_is_refused_with_its_line_and_without_the_token(
    tmp_path: Path, text: str, told: str
) -> None:
    file = tokens(tmp_path / "tokens", text)
    with pytest.raises(SettingsRefused) as refused:
        Tokens("x" * 16, file=file)
    assert told in str(refused.value)
    assert "0123456789abcdef" not in str(refused.value)


def test_a_file_of_tokens_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tokens(tmp_path / "tokens", "viewer ann 0123456789abcdef")
    file.chmod(0o644)
    with pytest.raises(SettingsRefused, match="chmod 600"):
        Tokens("x" * 16, file=file)
    with pytest.raises(SettingsRefused, match="cannot read"):
        Tokens("x" * 16, file=tmp_path / "none")


def test_what_chmod_mends_takes_effect(tmp_path: Path) -> None:
    """An editor left the file open to all: what it takes out counts as soon as the file is closed again."""
    file = tokens(tmp_path / "tokens", f"operator ann {ANN}\n")
    known = Tokens("x" * 16, file=file)
    assert known.holder(ANN) is not None
    file.write_text("# ann has left\n")
    file.chmod(0o644)
    assert known.holder(ANN) is not None, "the last good one stays in force"
    file.chmod(0o600)
    assert known.holder(ANN) is None
