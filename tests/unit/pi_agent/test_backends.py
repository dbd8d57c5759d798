"""Both contracts as exchanges, played without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from pi_agent import flags
from pi_agent.backends import LegacyBackend, ServiceBackend, Verdict
from pi_agent.clock import AMSTERDAM
from pi_agent.errors import Malformed, Refused, Unreachable
from pi_agent.exchange import Request, Response, play
from pi_agent.model import Ack, AckState, Command, Mode, Slot

LEGACY = LegacyBackend(17, "secret", AMSTERDAM)
V2 = ServiceBackend(17, "secret")
NOON = datetime(2026, 6, 1, 10, 0, tzinfo=UTC)
ACKS = [Ack("a", AckState.SUCCEEDED, NOON), Ack("b", AckState.EXPIRED, NOON, "late"), Ack("c", AckState.FAILED, NOON)]

LEGACY_DOCUMENT: dict[str, Any] = {
    "device_id": 17,
    "version": 3,
    "slots": "0000-0500 C2500",
    "updated": "2026-06-01T00:00:00",
    "commands": [
        {"ref": "cmd-1", "mode": "D", "power_w": 800, "issued": "2026-06-01T12:00:00", "expires": "2026-06-01T12:15:00"}
    ],
}
V2_DOCUMENT: dict[str, Any] = {
    "device_id": 17,
    "version": 3,
    "slots": [{"from": "00:00", "to": "05:00", "mode": "charge", "power_w": 2500}],
    "commands": [
        {
            "ref": "cmd-1",
            "mode": "discharge",
            "power_w": 800,
            "issued_at": "2026-06-01T10:00:00Z",
            "expires_at": "2026-06-01T10:15:00+00:00",
        }
    ],
}

#: Good in both contracts.
COMMAND = LEGACY_DOCUMENT["commands"][0] | V2_DOCUMENT["commands"][0]


def answer(status: int, body: object = None, **headers: str) -> Response:
    return Response(status, headers, b"" if body is None else json.dumps(body).encode())


def recorded(requests: list[Request], *answers: Response) -> Callable[[Request], Response]:
    remaining = list(answers)

    def give(request: Request) -> Response:
        requests.append(request)
        return remaining.pop(0) if len(remaining) > 1 else remaining[0]

    return give


def test_both_contracts_say_the_same_with_other_words() -> None:
    command = Command("cmd-1", Mode.DISCHARGE, 800, NOON, NOON.replace(minute=15))
    for backend, body in ((LEGACY, LEGACY_DOCUMENT), (V2, V2_DOCUMENT)):
        document = play(backend.fetch(None), lambda request, body=body: answer(200, body)).document
        assert document is not None
        assert document.schedule.version == 3
        assert document.schedule.slots == (Slot(0, 300, Mode.CHARGE, 2500),)
        assert document.commands == (command,)


def test_the_command_that_the_bad_ones_are_made_from_is_good() -> None:
    for backend, body in ((LEGACY, LEGACY_DOCUMENT), (V2, V2_DOCUMENT)):
        given = body | {"commands": [COMMAND]}
        document = play(backend.fetch(None), lambda request, body=given: answer(200, body)).document
        assert document is not None
        assert [c.ref for c in document.commands] == ["cmd-1"]


def test_each_contract_has_its_own_credentials_and_paths() -> None:
    requests: list[Request] = []
    play(LEGACY.fetch("ignored"), recorded(requests, answer(200, LEGACY_DOCUMENT)))
    play(V2.fetch('"3"'), recorded(requests, answer(304)))
    assert requests == [
        Request("GET", "/get-schedule/17", {"X-Device-Token": "secret"}),
        Request(
            "GET", "/v2/devices/17/schedule", {"Authorization": "Bearer secret", "If-None-Match": '"3"'}, to="service"
        ),
    ]


def test_an_unchanged_schedule_is_nothing_new_and_a_changed_one_brings_its_tag() -> None:
    assert play(V2.fetch('"3"'), lambda request: answer(304)).document is None
    document = play(V2.fetch('"2"'), lambda request: answer(200, V2_DOCUMENT, etag='"3"')).document
    assert document is not None
    assert document.etag == '"3"'


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", "3"), ("version", -1), ("version", True),
        ("slots", None), ("slots", "0500-0000 C1"), ("slots", [{"from": "25:00"}]),
        ("commands", 5), ("commands", [{}]), ("commands", [None]),
        ("commands", [COMMAND | {"ref": ""}]), ("commands", [COMMAND | {"ref": "x" * 65}]),
        ("commands", [COMMAND | {"mode": "Z"}]), ("commands", [COMMAND | {"power_w": -1}]),
        ("commands", [COMMAND | {"expires": "today", "expires_at": "2026-06-01T12:15:00"}]),
    ],
)  # fmt: skip
def test_an_answer_that_breaks_the_contract_is_malformed(name: str, value: object) -> None:
    for backend, body in ((LEGACY, LEGACY_DOCUMENT), (V2, V2_DOCUMENT)):
        with pytest.raises(Malformed):
            play(backend.fetch(None), lambda request, body=body: answer(200, {**body, name: value}))


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"null", b"\xff"])
def test_an_answer_that_is_not_json_is_malformed(content: bytes) -> None:
    for backend in (LEGACY, V2):
        with pytest.raises(Malformed):
            play(backend.fetch(None), lambda request: Response(200, {}, content))


def test_a_refusal_carries_its_status_and_how_long_to_wait() -> None:
    with pytest.raises(Refused) as caught:
        play(LEGACY.fetch(None), lambda request: Response(503, retry_after=7))
    assert (caught.value.status, caught.value.retry_after) == (503, 7)


def test_the_monolith_gets_acks_one_by_one_in_its_own_words() -> None:
    requests: list[Request] = []
    assert play(LEGACY.deliver(ACKS[1:2]), recorded(requests, answer(201))) == [Verdict.ACCEPTED]
    assert requests[0].path == "/api/devices/17/acks"
    assert requests[0].body == {"ref": "b", "state": "X", "observed": "2026-06-01T12:00:00", "note": "late"}


def test_the_service_gets_acks_in_one_batch() -> None:
    requests: list[Request] = []
    assert play(V2.deliver(ACKS), recorded(requests, answer(200, {"accepted": 3}))) == [Verdict.ACCEPTED] * 3
    assert len(requests) == 1
    body: Any = requests[0].body
    assert body["acks"][1] == {
        "ref": "b",
        "state": "expired",
        "observed_at": "2026-06-01T10:00:00.000Z",
        "note": "late",
    }


def test_one_bad_ack_does_not_take_its_batch_with_it() -> None:
    requests: list[Request] = []
    answers = recorded(requests, answer(422), answer(200), answer(422), answer(200))
    assert play(V2.deliver(ACKS), answers) == [Verdict.ACCEPTED, Verdict.REFUSED, Verdict.ACCEPTED]
    assert [len(r.body["acks"]) for r in requests] == [3, 1, 1, 1]  # type: ignore[index]


@pytest.mark.parametrize("status", [408, 421, 425, 429, 500, 502, 503, 504, 302])
def test_an_answer_that_says_later_settles_nothing(status: int) -> None:
    for backend in (LEGACY, V2):
        with pytest.raises(Refused):
            play(backend.deliver(ACKS[:1]), lambda request: answer(status))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_an_answer_that_says_no_is_a_verdict(status: int) -> None:
    for backend in (LEGACY, V2):
        assert play(backend.deliver(ACKS[:1]), lambda request: answer(status)) == [Verdict.REFUSED]


def test_no_answer_is_raised_in_the_exchange() -> None:
    def nobody(request: Request) -> Response:
        raise Unreachable("connection refused")

    with pytest.raises(Unreachable):
        play(LEGACY.fetch(None), nobody)


def test_the_flag_is_asked_for_this_device_and_only_if_it_changed() -> None:
    requests: list[Request] = []
    body = {"flags": [{"key": "other", "value": True}, {"key": "device-backend", "value": "v2"}]}
    flag = play(flags.evaluate(17, flags.Flag()), recorded(requests, answer(200, body, etag='"x"')))
    assert flag == flags.Flag("v2", '"x"')
    assert play(flags.evaluate(17, flag), recorded(requests, answer(304))) == flag
    assert [r.headers for r in requests] == [{}, {"If-None-Match": '"x"'}]
    assert requests[0].body == {"context": {"targetingKey": "17"}}


@pytest.mark.parametrize(
    "found", [[], [{"key": "device-backend", "value": "v3"}], [{"key": "device-backend", "errorCode": "GENERAL"}]]
)
def test_a_flag_without_a_known_value_is_legacy(found: list[object]) -> None:
    assert play(flags.evaluate(17, flags.Flag("v2")), lambda request: answer(200, {"flags": found})).value == "legacy"


def test_a_flag_answer_without_flags_is_malformed() -> None:
    with pytest.raises(Malformed):
        play(flags.evaluate(17, flags.Flag()), lambda request: answer(200, {}))
