"""The operator's verbs by the console's page, on real servers: it does what the command does, for whom it may."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from migration_plan.journey import Stand
from tests.integration.console.operators import log_in
from tests.integration.console.running import running_console
from tests.integration.migration_plan.toy import TOKEN, Toys, until, writing

AT_50 = Stand("canary", 50)
VIEWER = "a-viewer-s-token-of-the-tests"


@contextmanager
def console_of(toys: Toys) -> Iterator[str]:
    env = {name: value for name, value in toys.env.items() if name != "GATEWAY_ADMIN_TOKEN"}
    with running_console({**env, "GATEWAY_VIEWER_TOKEN": VIEWER}) as url:
        yield url


@pytest.fixture
def page(toys: Toys) -> Iterator[tuple[str, httpx.Client]]:
    with console_of(toys) as url, log_in(url, TOKEN) as client:
        yield url, client


def progress(client: httpx.Client, answer: httpx.Response) -> str:
    """All that was told of the step that `answer` began, until its end."""
    assert answer.status_code == 202, answer.text
    found = re.search(r'sse-connect="([^"]+)"', answer.text)
    assert found is not None
    with client.stream("GET", found[1], timeout=60) as events:
        told = "".join(events.iter_text())
    assert told.rstrip().endswith("data: ended")
    return told


def test_a_switch_and_a_rollback_by_the_page_are_those_of_the_command(
    toys: Toys, page: tuple[str, httpx.Client]
) -> None:
    _, client = page
    toys.put_stand(AT_50)
    ways = f"/verbs/{toys.domain}"
    look = client.post(f"{ways}/switch/look")
    assert look.status_code == 200
    assert "6 owner := service in service&#39;s database: the point of no return" in look.text
    assert "predicted pause of writes" in look.text
    assert {owner for owner, _ in toys.ownership().values()} == {"legacy"}, "a look changes nothing"
    given = {"reason": "by the page", "name": toys.domain, "stand": "canary 50 %"}
    with writing(toys, clients=2) as seen:
        told = progress(client, client.post(f"{ways}/switch", data=given))
        assert "6 cross" in told
        assert "service accepts the writes" in told
        back = {**given, "stand": "service"}
        assert "legacy accepts the writes" in progress(client, client.post(f"{ways}/rollback", data=back))
    assert seen.failed == []
    toys.equal()
    with toys.context() as context:
        rows = [row.entry for row in context.ledger().history(toys.domain) if row.entry.step == "publish.arrived"]
    assert [(row.verb, row.actor, row.reason) for row in rows] == [
        ("switch", "operator", "by the page"), ("rollback", "operator", "by the page"),
    ]  # fmt: skip


def test_a_refused_step_names_the_gate_and_the_command_that_helps(toys: Toys, page: tuple[str, httpx.Client]) -> None:
    _, client = page
    toys.put_stand(AT_50)
    ways, why = f"/verbs/{toys.domain}", {"reason": "the disk is full"}
    assert "frozen" in progress(client, client.post(f"{ways}/freeze", data=why))
    look = client.post(f"{ways}/switch/look").text
    assert "stops" in look
    assert f"banyan unfreeze {toys.domain}" in look
    assert 'type="submit"' not in look, "there is nothing to confirm"
    told = progress(client, client.post(f"{ways}/switch", data={"reason": "all the same", "name": toys.domain}))
    assert "not done" in told
    assert "Frozen" in told
    assert {owner for owner, _ in toys.ownership().values()} == {"legacy"}
    assert "unfrozen" in progress(client, client.post(f"{ways}/unfreeze", data=why))
    shown = client.post(f"{ways}/preflight/look").text
    assert "forward-stream" in shown


def test_a_step_decided_from_another_place_than_where_the_wave_is_now_is_refused(
    toys: Toys, page: tuple[str, httpx.Client]
) -> None:
    _, client = page
    toys.put_stand(AT_50)
    given = {"reason": "late", "name": toys.domain, "stand": "canary 10 %"}
    told = progress(client, client.post(f"/verbs/{toys.domain}/switch", data=given))
    assert "was at canary 10 % when this was decided" in told


def test_who_may_not_is_refused_by_the_server_and_sees_no_buttons(toys: Toys) -> None:
    (toys.folder / "viewers").write_text(f"viewer eve {VIEWER}\n")
    (toys.folder / "viewers").chmod(0o600)
    toys.stop_gateway()
    toys.start_gateway(GATEWAY_ADMIN_TOKENS=str(toys.folder / "viewers"))
    way = f"/verbs/{toys.domain}/freeze"
    with console_of(toys) as url:
        until(lambda: "data-verb" not in httpx.get(url).text, "the page")
        assert_problem(httpx.post(f"{url}{way}", data={"reason": "x"}), 401)
        assert_problem(httpx.post(f"{url}{way}/look"), 401)
        assert httpx.post(f"{url}/login", data={"token": "nobody-s-token-of-the-tests"}).status_code == 401
        with log_in(url, VIEWER) as eve:
            assert "data-verb" not in eve.get("/").text
            assert "eve (viewer)" in eve.get("/").text
            assert_problem(eve.post(way, data={"reason": "x"}), 403)
            assert_problem(eve.post(f"{way}/look"), 403)
        with log_in(url, TOKEN) as ann:
            assert 'data-verb="switch"' in ann.get("/").text
            csrf = ann.headers.pop("X-CSRF-Token")
            assert_problem(ann.post(way, data={"reason": "x"}), 403)
            assert_problem(ann.post(way, data={"reason": "x"}, headers={"X-CSRF-Token": csrf[:-1]}), 403)
            elsewhere = {"X-CSRF-Token": csrf, "Origin": "http://evil.example"}
            assert_problem(ann.post(way, data={"reason": "x"}, headers=elsewhere), 403)
            ann.headers["X-CSRF-Token"] = csrf
            assert_problem(ann.post(way, data={}), 422)
            dangerous = f"/verbs/{toys.domain}/switch"
            assert_problem(ann.post(dangerous, data={"reason": "x", "name": "another"}), 422)
            assert_problem(ann.post(f"/verbs/{toys.domain}/canary/look", data={"percent": "101"}), 422)
            assert_problem(ann.post("/verbs/nothing/freeze/look"), 404)
            assert_problem(ann.post(f"/verbs/{toys.domain}/explode/look"), 404)
            cookie = ann.cookies.jar
            kept = next(iter(cookie))
            assert kept.has_nonstandard_attr("HttpOnly")
            assert kept.get_nonstandard_attr("SameSite", "").lower() == "strict"
            assert ann.post("/logout", data={"csrf": csrf}).status_code == 303
            assert_problem(ann.post(way, data={"reason": "x"}), 401)
    with toys.context() as context:
        assert context.ledger().frozen() == {}


def assert_problem(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer.json()["detail"]


def test_a_console_without_what_the_verbs_need_only_looks(toys: Toys) -> None:
    env = {name: value for name, value in toys.env.items() if not name.startswith(("NEW_", "OLD_"))}
    with running_console({**env, "GATEWAY_VIEWER_TOKEN": VIEWER}) as url:
        assert "NEW_DSN, OLD_DSN not set" in httpx.get(f"{url}/login").text
        assert httpx.post(f"{url}/login", data={"token": TOKEN}).status_code == 403
