"""Header fields: Host, grammar, sizes, disguises."""

from __future__ import annotations

from tests.conformance.case import Case, Saw, passed, refused, request

_GET = "GET / HTTP/1.1"


def _hosts() -> list[Case]:
    good = ("a", "a.example:8080", "127.0.0.1", "[::1]:80", "[2001:db8::1]", "a_b", "xn--bcher-kva.example")
    bad = {
        "empty": "", "with a path": "a/b", "with a space": "a b", "with a comma": "a,b", "a list": "a, b",
        "with a user": "u@a", "with a quote": 'a"b', "with a query": "a?b", "with a fragment": "a#b",
        "a URL": "http://a", "with a port that is none": "a:b", "with an empty port": "a:", "with a sign": "a:+80",
        "half a bracket": "[::1", "with a byte above ASCII": "\xe9", "with a backslash": "a\\b",
    }  # fmt: skip
    return [
        *[passed(f"Host: {h}", "9110 §7.2", request(_GET, host=h), saw=Saw(has={"host": h})) for h in good],
        *[refused(f"Host {n}", "9112 §3.2", request(_GET, host=h)) for n, h in bad.items()],
        refused("no Host", "9112 §3.2", request(_GET, host=None)),
        refused("no Host, absolute target", "9112 §3.2", request("GET http://a/ HTTP/1.1", host=None)),
        refused("two Hosts", "9112 §3.2", request(_GET, "Host: a")),
        refused("two Hosts that differ", "9112 §3.2", request(_GET, "Host: b")),
        refused("two Hosts, one in capitals", "9112 §3.2", request(_GET, "HOST: b")),
        refused("two Hosts in HTTP/1.0", "9112 §3.2", request("GET / HTTP/1.0", "Host: b")),
    ]


def _grammar() -> list[Case]:
    bad = {
        "a space before the colon": "X : y",
        "a tab before the colon": "X\t: y",
        "no colon": "X",
        "no name": ": y",
        "a space in the name": "X Y: z",
        "a NUL in the name": "X\0Y: z",
        "a NUL in the value": "X: y\0z",
        "a control byte in the value": "X: y\x01z",
        "a vertical tab in the value": "X: y\x0bz",
        "a DEL in the value": "X: y\x7fz",
        "a bare CR in the value": "X: y\rz",
        "a bare CR that hides a header": "X: y\rTransfer-Encoding: chunked",
        "a CR before the CRLF": "X: y\r",
        "a bare LF between headers": "X: y\nZ: w",
        "a folded line": "X: y\r\n z",
        "a folded line with a tab": "X: y\r\n\tz",
        "a folded empty line": "X: y\r\n \r\nZ: w",
        "a bracket in the name": "X(Y): z",
        "a slash in the name": "X/Y: z",
        "a quote in the name": '"X": z',
        "a byte above ASCII in the name": "X\xe9: z",
        "a DEL in the name": "X\x7f: z",
        "a colon twice before the name": ":X: z",
    }
    good = {
        "an empty value": ("X:", ""),
        "no space after the colon": ("X:y", "y"),
        "white space around the value": ("X: \t y \t ", "y"),
        "a colon in the value": ("X: a:b", "a:b"),
        "a tab in the value": ("X: a\tb", "a\tb"),
        "bytes above ASCII in the value": ("X: \xe9\xff", "\xe9\xff"),
        "quotes in the value": ('X: "a\\"b, c"', '"a\\"b, c"'),
    }
    return [
        *[refused(f"header: {n}", "9112 §5, 9110 §5.5", request(_GET, line)) for n, line in bad.items()],
        *[passed(f"header: {n}", "9110 §5.5", request(_GET, h), saw=Saw(has={"x": v})) for n, (h, v) in good.items()],
        passed(
            "header: every mark a name may have", "9110 §5.6.2", request(_GET, "!#$%&'*+-.^`|~: y"),
            saw=Saw(has={"!#$%&'*+-.^`|~": "y"}),
        ),
        refused("header: a space before the first", "9112 §2.2", b"GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
        passed(
            "header: the same name twice", "9110 §5.3", request(_GET, "X: a", "x: b"), saw=Saw(has={"x": "a, b"})
        ),
        passed("header: an underscore in a name of one's own", "9110 §5.1", request(_GET, "api_key: y"),
               saw=Saw(has={"api_key": "y"})),
        *[
            refused(f"header: {name}, a disguise for WSGI", "3875 §4.1.18", request(_GET, f"{name}: 1"))
            for name in (
                "X_Forwarded_For", "X-Forwarded_Proto", "Content_Length", "Transfer_Encoding", "X_Request_Id",
                "Banyan_Owner", "X_Real_IP", "Proxy_Authorization",
            )
        ],
    ]  # fmt: skip


def _sizes() -> list[Case]:
    many = [f"X-{n}: y" for n in range(99)]
    return [
        passed("size: 100 headers", "9110 §5.4", request(_GET, *many)),
        refused("size: 101 headers", "6585 §5", request(_GET, *many, "X: y"), status=431),
        passed("size: a header of 30 KiB", "9110 §5.4", request(_GET, "X: " + "y" * 30720)),
        refused("size: a header of 33 KiB", "6585 §5", request(_GET, "X: " + "y" * 33792), status=431),
        refused("size: 100 KiB of headers", "6585 §5", request(_GET, *["X: " + "y" * 10240] * 10), status=431),
        refused("size: a header that does not end", "6585 §5", request(_GET)[:-2] + b"X: " + b"y" * 40000, status=431),
        refused(
            "size: a head of 33 KiB in pieces", "6585 §5", request(_GET)[:-2] + b"X: ", *[b"y" * 8192] * 4, b"y" * 1024,
            status=431,
        ),
    ]  # fmt: skip


FIELDS = [*_hosts(), *_grammar(), *_sizes()]
