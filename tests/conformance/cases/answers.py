"""Responses: what an upstream may say, and what becomes of what it may not."""

from __future__ import annotations

import re

from tests.conformance.case import Answer, Case, Got, Saw, reply, request

_GET = "GET / HTTP/1.1"
_CHUNKED = "Transfer-Encoding: chunked"
_SECOND = reply("200 OK", "Content-Length: 6", body=b"second")


def _answered(id: str, rfc: str, data: bytes, status: int = 200, then: str = "kept", *, got: Got | None = None,
              line: str = _GET, lines: tuple[str, ...] = (), close: bool = False) -> Case:  # fmt: skip
    method, target, _ = line.split(" ")
    return Case(
        id, rfc, (request(line, *lines),), (status,), then, (Saw(target, method),), Answer(data, close=close), got,
        head=method == "HEAD",
    )  # fmt: skip


def _bodies() -> list[Case]:
    return [
        _answered("a body of known length", "9112 §6.3", reply("200 OK", "Content-Length: 5", body=b"hello"),
                  got=Got(body=b"hello", has={"content-length": "5"})),
        _answered("a chunked body", "9112 §7.1", reply("200 OK", _CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"),
                  got=Got(body=b"hello", has={"transfer-encoding": "chunked", "content-length": None})),
        _answered("a body that ends with the connection", "9112 §6.3", reply("200 OK", body=b"hello"), close=True,
                  got=Got(body=b"hello", has={"transfer-encoding": "chunked"})),
        _answered("a body that ends with the connection, for HTTP/1.0", "9112 §6.3", reply("200 OK", body=b"hello"),
                  then="closed", line="GET / HTTP/1.0", close=True,
                  got=Got(body=b"hello", has={"transfer-encoding": None})),
        _answered("a chunked body for HTTP/1.0", "9112 §6.1",
                  reply("200 OK", _CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"), then="closed", line="GET / HTTP/1.0",
                  got=Got(body=b"hello", has={"transfer-encoding": None, "connection": "close"})),
        _answered("a response of HTTP/1.0", "9112 §9.3", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", close=True,
                  got=Got(body=b"ok")),
        _answered("no reason phrase", "9112 §4", reply("200 ", "Content-Length: 2", body=b"ok"), got=Got(body=b"ok")),
        _answered("an odd reason phrase", "9112 §4", reply("200 \xc3\xa9 !", "Content-Length: 2", body=b"ok"),
                  got=Got(body=b"ok")),
        _answered("a length of 0", "9112 §6.3", reply("200 OK", "Content-Length: 0"), got=Got(body=b"")),
        _answered("HEAD with a length", "9110 §8.6", reply("200 OK", "Content-Length: 5"), line="HEAD / HTTP/1.1",
                  got=Got(has={"content-length": "5"})),
        _answered("HEAD with chunks", "9112 §6.1", reply("200 OK", _CHUNKED), line="HEAD / HTTP/1.1",
                  got=Got(has={"content-length": None})),
        _answered("HEAD with nothing", "9112 §6.3", reply("200 OK"), line="HEAD / HTTP/1.1", got=Got()),
        _answered("HEAD with a body all the same", "9110 §9.3.2", reply("200 OK", "Content-Length: 5", body=b"hello"),
                  line="HEAD / HTTP/1.1", got=Got(has={"content-length": "5"})),
        _answered("204", "9110 §15.3.5", reply("204 No Content"), 204, got=Got()),
        _answered("204 with a length", "9110 §8.6", reply("204 No Content", "Content-Length: 0"), 204,
                  got=Got(has={"content-length": None})),
        _answered("204 with a body all the same", "9110 §15.3.5",
                  reply("204 No Content", "Content-Length: 5", body=b"hello"), 204,
                  got=Got(has={"content-length": None})),
        _answered("304 with a length", "9110 §8.6", reply("304 Not Modified", "Content-Length: 5", 'ETag: "x"'), 304,
                  got=Got(has={"content-length": "5", "etag": '"x"'})),
        _answered("304 without", "9110 §15.4.5", reply("304 Not Modified"), 304, got=Got()),
        _answered("a status of one's own", "9110 §15", reply("299 Odd", "Content-Length: 2", body=b"ok"), 299,
                  got=Got(body=b"ok")),
        _answered("500 of the upstream's own", "9110 §15.6", reply("500 X", "Content-Length: 2", body=b"up"), 500,
                  got=Got(body=b"up")),
        _answered("the upstream closes, the client may stay", "9112 §9.6",
                  reply("200 OK", "Connection: close", "Content-Length: 2", body=b"ok"), close=True,
                  got=Got(body=b"ok", has={"connection": None})),
        _answered("a Date is added", "9110 §6.6.1", reply("200 OK", "Content-Length: 0"),
                  got=Got(has={"date": re.compile(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT")})),
        _answered("a Date is kept", "9110 §6.6.1",
                  reply("200 OK", "Date: Sun, 06 Nov 1994 08:49:37 GMT", "Content-Length: 0"),
                  got=Got(has={"date": "Sun, 06 Nov 1994 08:49:37 GMT"})),
        _answered("cookies stay apart", "6265 §3",
                  reply("200 OK", "Set-Cookie: a=1", "Set-Cookie: b=2", "Content-Length: 0"),
                  got=Got(has={"set-cookie": "a=1, b=2"})),
    ]  # fmt: skip


def _informational() -> list[Case]:
    final = reply("200 OK", "Content-Length: 2", body=b"ok")
    hints = reply("103 Early Hints", "Link: </a.css>; rel=preload")
    return [
        _answered("103 is passed on", "8297 §2", hints + final, got=Got(body=b"ok", early=(103,))),
        _answered("three 1xx are passed on", "9110 §15.2", reply("102 Processing") + hints + hints + final,
                  got=Got(body=b"ok", early=(102, 103, 103))),
        _answered("a 1xx of no known kind", "9110 §15.2", reply("199 Odd") + final, got=Got(body=b"ok", early=(199,))),
        _answered("no 1xx for HTTP/1.0", "9110 §15.2", hints + final, then="closed", line="GET / HTTP/1.0",
                  got=Got(body=b"ok")),
        _answered("a 100 that nobody waits for", "9110 §15.2.1", reply("100 Continue") + final, got=Got(body=b"ok")),
        _answered("1xx without end", "9110 §15.2", reply("102 Processing") * 40 + final, 502),
    ]  # fmt: skip


def _trailers() -> list[Case]:
    data = reply("200 OK", _CHUNKED, "Trailer: X-Sum", body=b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")
    mixed = reply("200 OK", _CHUNKED, body=b"2\r\nok\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nSet-Cookie: a\r\n\r\n")
    takes = ("Connection: TE", "TE: trailers")
    return [
        _answered("trailers for a client that takes them", "9110 §6.5.1", data, lines=takes,
                  got=Got(body=b"ok", trailers=("X-Sum: 1",), has={"trailer": "X-Sum"})),
        _answered("trailers for a client that did not ask", "9110 §6.5.1", data,
                  got=Got(body=b"ok", has={"trailer": None})),
        _answered("trailers that belong in the head are dropped", "9110 §6.5.1", mixed, lines=takes,
                  got=Got(body=b"ok", trailers=("X-Sum: 1",))),
    ]  # fmt: skip


def _bad() -> list[Case]:
    heads = {
        "garbage": b"hello\r\n\r\n",
        "HTTP/2": b"HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n",
        "no version": b"200 OK\r\nContent-Length: 0\r\n\r\n",
        "a status of two digits": reply("20 OK", "Content-Length: 0"),
        "a status of four digits": reply("2000 OK", "Content-Length: 0"),
        "status 099": reply("099 X", "Content-Length: 0"),
        "status 600": reply("600 X", "Content-Length: 0"),
        "status xyz": reply("xyz X", "Content-Length: 0"),
        "a bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok",
        "a folded line": reply("200 OK", "X: y\r\n z", "Content-Length: 0"),
        "a NUL": reply("200 OK", "X: y\0z", "Content-Length: 0"),
        "a space before the colon": reply("200 OK", "Content-Length : 2", body=b"ok"),
        "a bare CR": reply("200 OK", "X: y\rSet-Cookie: a=b", "Content-Length: 0"),
        "a NUL in the reason phrase": reply("200 O\0K", "Content-Length: 0"),
        "a control byte in the reason phrase": reply("200 O\x0bK", "Content-Length: 0"),
        "two lengths that differ": reply("200 OK", "Content-Length: 2", "Content-Length: 3", body=b"ok"),
        "two lengths that agree": reply("200 OK", "Content-Length: 2", "Content-Length: 2", body=b"ok"),
        "a negative length": reply("200 OK", "Content-Length: -2", body=b"ok"),
        "a list of lengths": reply("200 OK", "Content-Length: 2, 2", body=b"ok"),
        "a length and chunks": reply("200 OK", "Content-Length: 2", _CHUNKED, body=b"2\r\nok\r\n0\r\n\r\n"),
        "another coding": reply("200 OK", "Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
        "two codings": reply("200 OK", _CHUNKED, _CHUNKED, body=b"0\r\n\r\n"),
        "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "a head of 100 KiB": reply("200 OK", "X: " + "y" * 102400, "Content-Length: 0"),
        "300 headers": reply("200 OK", *["X: y"] * 300, "Content-Length: 0"),
    }
    broken = {
        "less than its length": reply("200 OK", "Content-Length: 9", body=b"ok"),
        "chunks without an end": reply("200 OK", _CHUNKED, body=b"2\r\nok\r\n"),
        "half a chunk": reply("200 OK", _CHUNKED, body=b"9\r\nok"),
        "a bad chunk size": reply("200 OK", _CHUNKED, body=b"2\r\nok\r\nxyz\r\n"),
    }
    return [
        *[_answered(f"response: {n}", "9112 §4, §5, §6.3", d, 502, close=True) for n, d in heads.items()],
        *[
            _answered(f"response: {name}", "9112 §8", data, then="closed", close=True, got=Got(whole=False))
            for name, data in broken.items()
        ],
        _answered("response: more than its length", "9112 §9.2",
                  reply("200 OK", "Content-Length: 2", body=b"ok" + _SECOND), got=Got(body=b"ok")),
        _answered("response: a second one behind the chunks", "9112 §9.2",
                  reply("200 OK", _CHUNKED, body=b"2\r\nok\r\n0\r\n\r\n" + _SECOND), got=Got(body=b"ok")),
        _answered("response: a second one behind 304", "9112 §9.2", reply("304 Not Modified") + _SECOND, 304),
    ]  # fmt: skip


ANSWERS = [*_bodies(), *_informational(), *_trailers(), *_bad()]
