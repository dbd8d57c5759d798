"""Notices and preferences as customers and the back office know them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from legacy_monolith.tests.shapes import answers, formatted, refused
from legacy_monolith.tests.world import Customer, World, eventually

LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
ALL_ON = {"email": "Y", "sms": "Y", "push": "Y", "quiet_from": None, "quiet_to": None}
UNKNOWN = 2**62


def notice(customer: Customer, **changes: Any) -> dict[str, Any]:
    return {"customer_id": customer.id, "channel": "E", "subject": "Price alert", "body": "Cheap\nnow.", **changes}


@pytest.fixture
def customer(world: World, backoffice: httpx.Client) -> Customer:
    """A new customer, known to whoever keeps preferences."""
    made = world.customer()
    eventually(lambda: backoffice.get(f"/api/customers/{made.id}/preferences"), 200)
    return made


class TestPreferences:
    def test_a_new_customer_receives_mail_only(self, customer: Customer) -> None:
        default = {
            "customer_id": customer.id, "email": "Y", "sms": "N", "push": "N", "quiet_from": None, "quiet_to": None
        }  # fmt: skip
        answers(customer.client.get(f"/api/customers/{customer.id}/preferences"), 200, default)

    def test_what_is_put_is_what_is_got_any_number_of_times(self, customer: Customer, backoffice: httpx.Client) -> None:
        path = f"/api/customers/{customer.id}/preferences"
        wanted = {"email": "N", "sms": "Y", "push": "N", "quiet_from": "22:30", "quiet_to": "07:00"}
        for client in (customer.client, backoffice, customer.client):
            answers(client.put(path, json=wanted), 200, {"customer_id": customer.id, **wanted})
            answers(client.get(path), 200, {"customer_id": customer.id, **wanted})

    def test_quiet_hours_are_dropped_when_they_are_left_out(self, customer: Customer) -> None:
        path = f"/api/customers/{customer.id}/preferences"
        customer.client.put(path, json={**ALL_ON, "quiet_from": "22:00", "quiet_to": "07:00"})
        put = customer.client.put(path, json={"email": "Y", "sms": "Y", "push": "Y"})
        answers(put, 200, {"customer_id": customer.id, **ALL_ON})

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"email": None}, 400),
            ({"email": True}, 400),
            ({"sms": "maybe"}, 422),
            ({"push": "y"}, 422),
            ({"quiet_from": "22:00"}, 422),
            ({"quiet_from": "22:00", "quiet_to": "22:00"}, 422),
            ({"quiet_from": "24:00", "quiet_to": "07:00"}, 422),
            ({"quiet_from": "9:00", "quiet_to": "10:00"}, 422),
            ({"quiet_from": 22, "quiet_to": 7}, 400),
        ],
        ids=str,
    )
    def test_bad_preferences_are_refused_and_the_old_ones_stay(
        self, customer: Customer, change: dict[str, object], status: int
    ) -> None:
        path = f"/api/customers/{customer.id}/preferences"
        before = customer.client.put(path, json=ALL_ON).json()
        refused(customer.client.put(path, json={**ALL_ON, **change}), status)
        answers(customer.client.get(path), 200, before)

    def test_a_customer_sees_its_own_only(
        self, customer: Customer, world: World, anyone: httpx.Client, backoffice: httpx.Client
    ) -> None:
        path = f"/api/customers/{customer.id}/preferences"
        other = world.customer()
        for method in ("GET", "PUT"):
            answers(other.client.request(method, path, json=ALL_ON), 403, {"error": "forbidden"})
            answers(anyone.request(method, path, json=ALL_ON), 401, {"error": "authentication required"})
            unknown = backoffice.request(method, f"/api/customers/{UNKNOWN}/preferences", json=ALL_ON)
            answers(unknown, 404, {"error": "customer not found"})


class TestNotifications:
    def test_a_notice_is_sent_to_the_customers_address_and_kept(
        self, customer: Customer, backoffice: httpx.Client
    ) -> None:
        made = formatted(backoffice.post("/api/notifications", json=notice(customer)), 201)
        assert LOCAL_TIME.fullmatch(made["created"])
        assert LOCAL_TIME.fullmatch(made["sent"])
        assert made == {
            "id": made["id"],
            "customer_id": customer.id,
            "channel": "E",
            "recipient": customer.email,
            "subject": "Price alert",
            "body": "Cheap\nnow.",
            "status": "S",
            "error": None,
            "created": made["created"],
            "sent": made["sent"],
        }
        answers(customer.client.get("/api/notifications"), 200, {"notifications": [made], "next": None})

    def test_a_notice_may_go_to_another_address(self, customer: Customer, backoffice: httpx.Client) -> None:
        wanted = notice(customer, to="elsewhere@example.net")
        made = backoffice.post("/api/notifications", json=wanted)
        assert made.json()["recipient"] == "elsewhere@example.net"

    @pytest.mark.parametrize("channel", ["S", "P"])
    def test_a_text_message_or_push_needs_consent_and_a_recipient(
        self, customer: Customer, backoffice: httpx.Client, channel: str
    ) -> None:
        refused(backoffice.post("/api/notifications", json=notice(customer, channel=channel, to="+31612345678")), 422)
        customer.client.put(f"/api/customers/{customer.id}/preferences", json=ALL_ON)
        refused(backoffice.post("/api/notifications", json=notice(customer, channel=channel)), 422)
        wanted = notice(customer, channel=channel, to="+31612345678")
        made = formatted(backoffice.post("/api/notifications", json=wanted), 201)
        assert (made["channel"], made["recipient"], made["status"]) == (channel, "+31612345678", "S")
        listed = customer.client.get("/api/notifications").json()["notifications"]
        assert listed == [made]

    def test_a_switched_off_channel_sends_and_keeps_nothing(self, customer: Customer, backoffice: httpx.Client) -> None:
        customer.client.put(f"/api/customers/{customer.id}/preferences", json={**ALL_ON, "email": "N"})
        refused(backoffice.post("/api/notifications", json=notice(customer)), 422)
        answers(customer.client.get("/api/notifications"), 200, {"notifications": [], "next": None})

    def test_in_quiet_hours_a_notice_waits(self, customer: Customer, backoffice: httpx.Client) -> None:
        now = datetime.now(ZoneInfo("Europe/Amsterdam"))
        quiet = {
            "quiet_from": (now - timedelta(hours=2)).strftime("%H:%M"),
            "quiet_to": (now + timedelta(hours=2)).strftime("%H:%M"),
        }
        customer.client.put(f"/api/customers/{customer.id}/preferences", json={**ALL_ON, **quiet})
        made = formatted(backoffice.post("/api/notifications", json=notice(customer)), 201)
        assert (made["status"], made["sent"], made["error"]) == ("Q", None, None)

    def test_history_comes_in_pages(self, customer: Customer, backoffice: httpx.Client) -> None:
        made = [backoffice.post("/api/notifications", json=notice(customer)).json() for _ in range(3)]
        wanted = {"customer_id": customer.id, "limit": 2}
        page = backoffice.get("/api/notifications", params=wanted)
        answers(page, 200, {"notifications": made[:2], "next": made[1]["id"]})
        rest = customer.client.get("/api/notifications", params={"after": made[1]["id"]})
        answers(rest, 200, {"notifications": made[2:], "next": None})

    @pytest.mark.parametrize(
        ("change", "status"),
        [
            ({"customer_id": None}, 400),
            ({"customer_id": "me"}, 400),
            ({"channel": None}, 400),
            ({"channel": "X"}, 422),
            ({"subject": 5}, 400),
            ({"subject": ""}, 422),
            ({"subject": "two\nBcc: lines"}, 422),
            ({"subject": "x" * 201}, 422),
            ({"body": None}, 400),
            ({"body": "a\u0000b"}, 422),
            ({"body": "x" * 10_001}, 422),
            ({"to": "nobody"}, 422),
            ({"to": "a@example.net, b@example.net"}, 422),
            ({"to": ["a@example.net"]}, 400),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_a_bad_notice_is_refused_and_not_kept(
        self, customer: Customer, backoffice: httpx.Client, change: dict[str, object], status: int
    ) -> None:
        refused(backoffice.post("/api/notifications", json=notice(customer, **change)), status)
        answers(customer.client.get("/api/notifications"), 200, {"notifications": [], "next": None})

    def test_an_unknown_customer_is_not_found(self, customer: Customer, backoffice: httpx.Client) -> None:
        wanted = notice(customer, customer_id=UNKNOWN)
        answers(backoffice.post("/api/notifications", json=wanted), 404, {"error": "customer not found"})

    def test_only_the_back_office_sends_and_a_customer_reads_its_own(
        self, customer: Customer, world: World, anyone: httpx.Client
    ) -> None:
        answers(anyone.post("/api/notifications", json={}), 401, {"error": "authentication required"})
        answers(customer.client.post("/api/notifications", json={}), 403, {"error": "forbidden"})
        answers(anyone.get("/api/notifications"), 401, {"error": "authentication required"})
        foreign = world.customer().client.get("/api/notifications", params={"customer_id": customer.id})
        answers(foreign, 403, {"error": "forbidden"})
