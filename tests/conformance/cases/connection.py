"""One connection, many messages: keep-alive, pipelining, expectations, upgrades, half-close."""

from __future__ import annotations

import re

from tests.conformance.case import Answer, Await, Case, Got, Saw, passed, refused, reply, request

_GET = "GET / HTTP/1.1"
_POST = "POST / HTTP/1.1"
_UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA==")
_SWITCH = Answer(reply("101 Switching Protocols", "Connection: Upgrade", "Upgrade: websocket"), echo=True)
_DENIED = Answer(reply("401 Unauthorized", "Content-Length: 2", body=b"no"), early=True)
_ABC = Saw(method="POST", body=b"abc")


def _persistence() -> list[Case]:
    return [
        passed("keep-alive is the default", "9112 §9.3", request(_GET)),
        passed("Connection: keep-alive", "9112 §9.3", request(_GET, "Connection: keep-alive")),
        *[
            Case(f"Connection: {value}", "9112 §9.6", (request(_GET, f"Connection: {value}"),), (200,), "closed",
                 (Saw(has={"connection": None}),), got=Got(has={"connection": "close"}))
            for value in ("close", "CLOSE", "x, close", "close , x")
        ],
        Case("Connection: close in a second line", "9112 §9.6",
             (request(_GET, "Connection: x", "Connection: close"),), (200,), "closed", (Saw(),)),
        passed("Connection: closed is another word", "9110 §7.6.1", request(_GET, "Connection: closed")),
        Case("two requests in one write", "9112 §9.3.2", (request("GET /1 HTTP/1.1") + request("GET /2 HTTP/1.1"),),
             (200, 200), "kept", (Saw("/1"), Saw("/2"))),
        Case("three requests, split anywhere", "9112 §9.3.2",
             (b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HT", b"TP/1.1\r\nHost: a\r\n\r",
              b"\n" + request("GET /3 HTTP/1.1")),
             (200,) * 3, "kept", (Saw("/1"), Saw("/2"), Saw("/3"))),
        Case("a request behind a body", "9112 §9.3.2",
             (request(_POST, "Content-Length: 3", body=b"abc") + request("GET /2 HTTP/1.1"),), (200, 200), "kept",
             (_ABC, Saw("/2"))),
        Case("a request behind chunks", "9112 §9.3.2",
             (request(_POST, "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n")
              + request("GET /2 HTTP/1.1"),), (200, 200), "kept", (_ABC, Saw("/2"))),
        Case("an empty line behind a body", "9112 §2.2",
             (request(_POST, "Content-Length: 3", body=b"abc") + b"\r\n" + request("GET /2 HTTP/1.1"),), (200, 200),
             "kept", (_ABC, Saw("/2"))),
        Case("a good request, then a bad one", "9112 §9.3.2", (request(_GET) + request("GET /a b HTTP/1.1"),),
             (200, 400), "closed", (Saw(),)),
        Case("a good request, then garbage behind its body", "9112 §9.3.2",
             (request(_POST, "Content-Length: 3", body=b"abcd\r\n\r\n"),), (200, 400), "closed", (_ABC,)),
        Case("what follows close is not looked at", "9112 §9.6",
             (request(_GET, "Connection: close") + request("GET /2 HTTP/1.1"),), (200,), "closed", (Saw(),)),
        Case("half-close after a request", "9112 §9.6", (request(_GET),), (200,), "closed", (Saw(),), eof=True),
        Case("half-close after two requests", "9112 §9.6", (request("GET /1 HTTP/1.1") + request("GET /2 HTTP/1.1"),),
             (200, 200), "closed", (Saw("/1"), Saw("/2")), eof=True),
        Case("half-close within a head", "9112 §8", (b"GET / HTTP/1.1\r\nHost",), (), "closed", eof=True),
        Case("HTTP/1.0 with keep-alive may be closed", "9112 §9.3",
             (request("GET / HTTP/1.0", "Connection: keep-alive"),), (200,), "closed", (Saw(),)),
        Case("a head that does not end in time", "9110 §15.5.9", (b"GET / HTTP/1.1\r\nHost: a\r\n",), (408,), "closed",
             settings={"slow_timeout": 0.2}),
        Case("a body that does not come in time", "9110 §15.5.9",
             (request(_POST, "Content-Length: 9", body=b"abc"),), (408,), "closed", settings={"slow_timeout": 0.2}),
    ]  # fmt: skip


def _expectations() -> list[Case]:
    def expecting(*lines: str, line: str = _POST) -> bytes:
        return request(line, "Expect: 100-continue", *lines)

    go_on = Await(b"100 Continue\r\n\r\n")
    return [
        passed("Expect: the body comes after the 100", "9110 §10.1.1", expecting("Content-Length: 3"), go_on, b"abc",
               saw=Saw(method="POST", body=b"abc", has={"expect": "100-continue"}), got=Got(body=b"ok", early=(100,))),
        passed("Expect: chunks come after the 100", "9110 §10.1.1", expecting("Transfer-Encoding: chunked"), go_on,
               b"3\r\nabc\r\n0\r\n\r\n", saw=_ABC, got=Got(early=(100,))),
        passed("Expect: in capitals", "9110 §10.1.1", request(_POST, "EXPECT: 100-Continue", "Content-Length: 3"),
               go_on, b"abc", saw=_ABC, got=Got(early=(100,))),
        passed("Expect: the body does not wait", "9110 §10.1.1", expecting("Content-Length: 3") + b"abc",
               saw=Saw(method="POST", body=b"abc", has={"expect": None}), got=Got()),
        passed("Expect: no body announced", "9110 §10.1.1", expecting(line=_GET), saw=Saw(has={"expect": None}),
               got=Got()),
        Case("Expect in HTTP/1.0 is ignored", "9110 §10.1.1",
             (expecting("Content-Length: 3", line="POST / HTTP/1.0") + b"abc",), (200,), "closed", (_ABC,), got=Got()),
        Case("Expect: a final answer before the body", "9110 §10.1.1", (expecting("Content-Length: 3"),), (401,),
             "closed", (Saw(method="POST", whole=False),), answer=_DENIED, got=Got(body=b"no")),
        refused("Expect: too large, before the body", "9110 §10.1.1", expecting("Content-Length: 99999999999"),
                status=413),
        refused("Expect: unknown", "9110 §10.1.1", request(_POST, "Expect: tea", "Content-Length: 3"), status=417),
        refused("Expect: a list", "9110 §10.1.1", request(_POST, "Expect: 100-continue, tea", "Content-Length: 3"),
                status=417),
        refused("Expect: two of them", "9110 §10.1.1",
                expecting("Expect: tea", "Content-Length: 3"), status=417),
        refused("Expect: 200-ok", "9110 §10.1.1", request(_GET, "Expect: 200-ok"), status=417),
    ]  # fmt: skip


def _upgrades() -> list[Case]:
    return [
        Case("Upgrade to WebSocket", "9110 §7.8", (request(_GET, *_UPGRADE),), (101,), "tunnel",
             (Saw(has={"connection": re.compile("(?i)upgrade"), "upgrade": "websocket"}),), answer=_SWITCH,
             got=Got(has={"connection": re.compile("(?i)upgrade"), "upgrade": "websocket"})),
        passed("Upgrade that the upstream does not follow", "9110 §7.8", request(_GET, *_UPGRADE)),
        passed("Upgrade not named in Connection", "9110 §7.8", request(_GET, "Upgrade: websocket"),
               saw=Saw(has={"upgrade": None})),
        passed("Upgrade: h2c", "9110 §7.8", request(_GET, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
                                                   "HTTP2-Settings: AAMAAABk"),
               saw=Saw(has={"upgrade": None, "connection": None, "http2-settings": None})),
        passed("Upgrade: a list", "9110 §7.8", request(_GET, "Connection: Upgrade", "Upgrade: h2c, websocket"),
               saw=Saw(has={"upgrade": None})),
        passed("Upgrade with a body", "9110 §7.8", request(_GET, *_UPGRADE, "Content-Length: 3", body=b"abc"),
               saw=Saw(body=b"abc", has={"upgrade": None})),
        passed("Upgrade by POST", "6455 §4.1", request(_POST, *_UPGRADE),
               saw=Saw(method="POST", has={"upgrade": None})),
        Case("Upgrade in HTTP/1.0", "9110 §7.8", (request("GET / HTTP/1.0", *_UPGRADE),), (200,), "closed",
             (Saw(has={"upgrade": None}),)),
        Case("a switch that nobody asked for", "9110 §15.2.2", (request(_GET),), (502,), "kept", (Saw(),),
             answer=_SWITCH),
    ]  # fmt: skip


def _early() -> list[Case]:
    return [
        Case("an answer while the body is coming", "9112 §9.5", (request(_POST, "Content-Length: 9", body=b"abc"),),
             (401,), "closed", (Saw(method="POST", whole=False),), answer=_DENIED,
             got=Got(body=b"no", has={"connection": "close"})),
        Case("an answer while chunks are coming", "9112 §9.5",
             (request(_POST, "Transfer-Encoding: chunked", body=b"3\r\nabc\r\n"),), (401,), "closed",
             (Saw(method="POST", whole=False),), answer=_DENIED, got=Got(body=b"no")),
    ]  # fmt: skip


CONNECTION = [*_persistence(), *_expectations(), *_upgrades(), *_early()]
