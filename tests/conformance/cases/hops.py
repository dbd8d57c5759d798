"""What a hop takes away and what it adds: Connection, Via, X-Forwarded-*, Forwarded, traces, request ids."""

from __future__ import annotations

import re

from tests.conformance.case import Answer, Case, Got, Saw, Value, passed, refused, reply, request

_GET = "GET / HTTP/1.1"
_ID = re.compile(r"[0-9a-f-]{16,36}")
_TRACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01")
_GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def _sees(id: str, rfc: str, lines: tuple[str, ...], has: dict[str, Value], **rest: object) -> Case:
    return passed(id, rfc, request(_GET, *lines), saw=Saw(has=has), **rest)


def _hop_by_hop() -> list[Case]:
    always = {
        "Keep-Alive": "timeout=5", "Proxy-Connection": "keep-alive", "Proxy-Authorization": "Basic x",
        "TE": "trailers", "Upgrade": "foo", "Banyan-Owner": "legacy", "Banyan-Epoch": "9", "Banyan-Route": "x",
        "X-Original-URL": "/admin", "X-Rewrite-URL": "/admin",
    }  # fmt: skip
    kept = ("Authorization", "Cookie", "X-Own", "Accept", "Cache-Control", "Range", "Banyan-Dry-Run")
    return [
        *[_sees(f"{n} is not passed on", "9110 §7.6.1", (f"{n}: {v}",), {n: None}) for n, v in always.items()],
        *[_sees(f"{name} is passed on", "9110 §7.6", (f"{name}: 0",), {name: "0"}) for name in kept],
        _sees("a header named in Connection goes", "9110 §7.6.1", ("Connection: X-Own", "X-Own: 1", "X-Kept: 1"),
              {"x-own": None, "x-kept": "1", "connection": None}),
        _sees("two headers named in two Connections", "9110 §7.6.1",
              ("Connection: X-A", "X-A: 1", "X-B: 1", "connection: keep-alive , x-b"), {"x-a": None, "x-b": None}),
        *[
            _sees(f"Connection cannot take {name} away", "9110 §7.6.1", (f"Connection: {name}", *lines), {name: value})
            for name, value, lines in (
                ("Host", "a", ()), ("Authorization", "x", ("Authorization: x",)), ("Cookie", "a=b", ("Cookie: a=b",)),
                ("X-Forwarded-For", "127.0.0.1", ()), ("Via", "1.1 banyan", ()),
                ("Traceparent", _GIVEN, (f"Traceparent: {_GIVEN}",)), ("X-Request-Id", "mine", ("X-Request-Id: mine",)),
            )
        ],
        passed("Connection cannot take Content-Length away", "9110 §7.6.1",
               request("POST / HTTP/1.1", "Connection: Content-Length", "Content-Length: 3", body=b"abc"),
               saw=Saw(method="POST", body=b"abc", has={"content-length": "3"})),
        _sees("TE: trailers named in Connection is asked for", "9110 §10.1.4", ("Connection: TE", "TE: trailers"),
              {"te": "trailers", "connection": "TE"}),
        _sees("TE: gzip is not", "9110 §10.1.4", ("Connection: TE", "TE: gzip"), {"te": None, "connection": None}),
        passed("hop-by-hop headers of a response", "9110 §7.6.1", request(_GET), answer=Answer(reply(
            "200 OK", "Connection: X-Own", "X-Own: 1", "Keep-Alive: timeout=5", "Proxy-Connection: x", "Upgrade: h2c",
            "X-Kept: 1", "Content-Length: 2", body=b"ok")),
            got=Got(has={"x-own": None, "keep-alive": None, "proxy-connection": None, "upgrade": None, "x-kept": "1",
                         "connection": None})),
    ]  # fmt: skip


def _forwarding() -> list[Case]:
    us = 'for=127.0.0.1;host="a";proto=http'
    plain: dict[str, Value] = {
        "x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http", "x-forwarded-host": "a", "forwarded": us,
        "via": "1.1 banyan",
    }  # fmt: skip
    lies = (
        "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "X-Forwarded-Port: 1",
        "Forwarded: for=1.2.3.4;host=evil", "X-Real-IP: 1.2.3.4", "X-Forwarded-Prefix: /x",
    )  # fmt: skip
    gone: dict[str, Value] = {"x-forwarded-port": None, "x-real-ip": None, "x-forwarded-prefix": None}
    one, two = {"trusted_hops": 1}, {"trusted_hops": 2}
    return [
        _sees("who asked is told", "7239 §4", (), plain),
        _sees("nobody is trusted: what a client says is thrown away", "7239 §8.1", lies, {**plain, **gone}),
        _sees("nobody is trusted: also in two lines", "7239 §8.1",
              ("X-Forwarded-For: 1.1.1.1", "x-forwarded-for: 2.2.2.2"), plain),
        _sees("one proxy is trusted: its entry is kept", "7239 §8.1", ("X-Forwarded-For: 6.6.6.6, 1.2.3.4",),
              {"x-forwarded-for": "1.2.3.4, 127.0.0.1"}, settings=one),
        _sees("two proxies are trusted", "7239 §8.1", ("X-Forwarded-For: 6.6.6.6, 1.2.3.4", "X-Forwarded-For: 5.5.5.5"),
              {"x-forwarded-for": "1.2.3.4, 5.5.5.5, 127.0.0.1"}, settings=two),
        _sees("a trusted proxy says proto, host and port", "7239 §8.1",
              ("X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example", "X-Forwarded-Port: 443"),
              {"x-forwarded-proto": "https", "x-forwarded-host": "shop.example", "x-forwarded-port": "443",
               "host": "a"},
              settings=one),
        _sees("a trusted proxy says nonsense", "7239 §8.1",
              ("X-Forwarded-Proto: gopher", "X-Forwarded-Host: a b", "X-Forwarded-For: a b"),
              {"x-forwarded-proto": "http", "x-forwarded-host": "a", "x-forwarded-for": "unknown, 127.0.0.1"},
              settings=one),
        _sees("one proxy is trusted: its Forwarded is kept", "7239 §4",
              ('Forwarded: for=6.6.6.6, for="[2001:db8::1]";proto=https',),
              {"forwarded": f'for="[2001:db8::1]";proto=https, {us}'}, settings=one),
        _sees("a comma in quotes does not end an element", "7239 §4", ('Forwarded: for=6.6.6.6, for="_a,b";by=_c',),
              {"forwarded": f'for="_a,b";by=_c, {us}'}, settings=one),
        _sees("a Forwarded that is malformed is thrown away", "7239 §4", ('Forwarded: for="1.2.3.4, for=5.5.5.5',),
              {"forwarded": us}, settings=one),
        _sees("Via is added to", "9110 §7.6.3", ("Via: 1.0 fred, 1.1 p.example",),
              {"via": "1.0 fred, 1.1 p.example, 1.1 banyan"}),
        _sees("four times through such gateways", "9110 §7.6.3", (f"Via: {', '.join(['1.1 banyan'] * 4)}",),
              {"via": ", ".join(["1.1 banyan"] * 5)}),
        refused("a loop", "9110 §7.6.3, 5842 §7.2", request(_GET, f"Via: {', '.join(['1.1 banyan'] * 5)}"), status=508),
        Case("Via of HTTP/1.0, Host of the upstream", "9110 §7.6.3", (request("GET / HTTP/1.0", host=None),), (200,),
             "closed", (Saw(has={"via": "1.0 banyan", "host": re.compile(r"127\.0\.0\.1:\d+"), "x-forwarded-host": None,
                                 "forwarded": "for=127.0.0.1;proto=http"}),)),
    ]  # fmt: skip


def _traces() -> list[Case]:
    bad = {
        "capitals": _GIVEN.upper(), "version ff": "ff" + _GIVEN[2:], "a trace of zeros": "00-" + "0" * 32 + _GIVEN[35:],
        "a parent of zeros": _GIVEN[:36] + "0" * 16 + "-01", "too short": _GIVEN[:-1], "too long": _GIVEN + "-x",
        "junk": "hello", "empty": "",
    }  # fmt: skip
    return [
        _sees("a trace is begun", "Trace Context §3.2", (), {"traceparent": _TRACE}),
        _sees("a trace is kept", "Trace Context §3.2", (f"traceparent: {_GIVEN}", "tracestate: a=1,b=2"),
              {"traceparent": _GIVEN, "tracestate": "a=1,b=2"}),
        _sees("a trace of a later version is kept", "Trace Context §3.2.4", (f"traceparent: cc{_GIVEN[2:]}-later",),
              {"traceparent": f"cc{_GIVEN[2:]}-later"}),
        *[
            _sees(f"traceparent: {name}", "Trace Context §3.2.2", (f"traceparent: {value}", "tracestate: a=1"),
                  {"traceparent": _TRACE, "tracestate": None})
            for name, value in bad.items()
        ],
        _sees("two traceparents", "Trace Context §3.2.2", (f"traceparent: {_GIVEN}", f"traceparent: {_GIVEN}"),
              {"traceparent": _TRACE}),
        _sees("a request id is made", "design §6", (), {"x-request-id": _ID}),
        _sees("a request id is kept", "design §6", ("X-Request-ID: mine/1",), {"x-request-id": "mine/1"},
              got=Got(has={"x-request-id": "mine/1"})),
        *[
            _sees(f"request id: {name}", "design §6", tuple(f"X-Request-Id: {v}" for v in values),
                  {"x-request-id": _ID})
            for name, values in {
                "empty": ("",), "with a space": ("a b",), "of 129 bytes": ("x" * 129,), "given twice": ("a", "b"),
                "with a byte above ASCII": ("\xe9",),
            }.items()
        ],
    ]  # fmt: skip


HOPS = [*_hop_by_hop(), *_forwarding(), *_traces()]
