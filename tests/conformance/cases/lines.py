"""Request lines: method, target, version."""

from __future__ import annotations

from tests.conformance.case import Case, Got, Saw, passed, refused, request

_OPTIONS = "OPTIONS * HTTP/1.1"


def _methods() -> list[Case]:
    cases = [
        passed(f"method {name}", "9110 §9.3", request(f"{name} / HTTP/1.1"), saw=Saw(method=name))
        for name in ("GET", "OPTIONS", "DELETE")
    ]
    cases += [
        passed(
            f"method {name} with a body",
            "9110 §9.3",
            request(f"{name} / HTTP/1.1", "Content-Length: 3", body=b"abc"),
            saw=Saw(method=name, body=b"abc"),
        )
        for name in ("POST", "PUT", "PATCH", "DELETE")
    ]
    cases += [
        refused(f"method {name}", "9110 §9.1", request(f"{name} / HTTP/1.1"), status=501)
        for name in ("TRACE", "PROPFIND", "BREW", "get", "GETS", "M-SEARCH")
    ]
    return [
        *cases,
        passed("method HEAD", "9110 §9.3.2", request("HEAD / HTTP/1.1"), saw=Saw(method="HEAD"), head=True),
        refused("CONNECT", "9110 §9.3.6", request("CONNECT a:443 HTTP/1.1", host="a:443"), status=501),
        refused("CONNECT with a path", "9110 §9.3.6", request("CONNECT / HTTP/1.1"), status=501),
        refused("method with a bracket", "9110 §5.6.2", request("G(T / HTTP/1.1")),
        refused("method with a NUL", "9110 §5.6.2", request("GE\0T / HTTP/1.1")),
        refused("no method", "9112 §3", request(" / HTTP/1.1")),
        refused("the preface of HTTP/2", "9113 §3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status=505),
        refused("TLS on a plain port", "9112 §2.2", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40),
    ]


def _targets() -> list[Case]:
    good = {
        "a path": "/a/b",
        "a query": "/a?b=c&d=%20",
        "a query with a question mark": "/a?b?c",
        "an empty query": "/a?",
        "two slashes": "/a//b",
        "escaped letters": "/%7Euser/%C3%A9",
        "a dot in a name": "/.well-known/a.b..c",
        "sub-delimiters": "/a;v=1,2/(b)!$&'*+=:@",
        "dots in the query": "/a?b=/../c",
        "an escaped slash in the query": "/a?b=%2F%5C",
    }
    bad = {
        "a fragment": "/a#b",
        "a fragment in the query": "/a?b#c",
        "dot segments": "/a/../b",
        "one dot": "/a/./b",
        "dot segments at the end": "/a/..",
        "escaped dot segments": "/a/%2e%2E/b",
        "half escaped dot segments": "/a/.%2e/b",
        "dot segments with a parameter": "/a/..;x/b",
        "an escaped slash": "/a%2Fb",
        "an escaped backslash": "/a%5cb",
        "a backslash": "/a\\b",
        "an escaped NUL": "/a%00b",
        "a broken escape": "/a%zz",
        "half an escape": "/a%2",
        "a tab": "/a\tb",
        "a form feed": "/a\x0cb",
        "a byte above ASCII": "/\xe9",
        "a DEL": "/a\x7fb",
        "a NUL": "/a\0b",
        "no leading slash": "a/b",
        "only a query": "?a=b",
        "an asterisk for GET": "*",
        "an authority": "a:80",
        "another scheme": "ftp://a/",
        "user and password": "http://u:p@a/",
        "another authority than Host": "http://b/",
        "an authority and no path but a query": "http://a?b",
        "an empty authority": "http:///a",
    }
    return [
        *[passed(f"target: {n}", "9112 §3.2.1", request(f"GET {t} HTTP/1.1"), saw=Saw(t)) for n, t in good.items()],
        *[refused(f"target: {n}", "9112 §3.2, 3986 §3", request(f"GET {t} HTTP/1.1")) for n, t in bad.items()],
        passed("target: absolute", "9112 §3.2.2", request("GET http://a/b?c HTTP/1.1"), saw=Saw("/b?c")),
        passed("target: absolute in capitals", "9112 §3.2.2", request("GET HTTP://A/b HTTP/1.1"), saw=Saw("/b")),
        passed("target: absolute without a path", "9112 §3.2.2", request("GET http://a HTTP/1.1"), saw=Saw("/")),
        passed(
            "target: absolute with a port",
            "9112 §3.2.2",
            request("GET http://a:81/b HTTP/1.1", host="a:81"),
            saw=Saw("/b", has={"host": "a:81"}),
        ),
        passed("target: asterisk", "9112 §3.2.4", request(_OPTIONS), saw=Saw("*", "OPTIONS")),
        refused("target: asterisk for POST", "9112 §3.2.4", request("POST * HTTP/1.1")),
        refused("target: 40 KiB", "9112 §3", request("GET /" + "x" * 40960 + " HTTP/1.1"), status=414),
        passed("target: 7 KiB", "9112 §3", request("GET /" + "x" * 7168 + " HTTP/1.1"), saw=Saw("/" + "x" * 7168)),
        Case(
            "OPTIONS with Max-Forwards 0", "9110 §7.6.2", (request(_OPTIONS, "Max-Forwards: 0"),), (204,), "kept",
            got=Got(has={"allow": "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT", "content-length": None}),
        ),
        passed(
            "OPTIONS with Max-Forwards 3", "9110 §7.6.2", request("OPTIONS /a HTTP/1.1", "Max-Forwards: 3"),
            saw=Saw("/a", "OPTIONS", has={"max-forwards": "2"}),
        ),
        Case(
            "OPTIONS with Max-Forwards 0 and a body", "9110 §7.6.2",
            (request(_OPTIONS, "Max-Forwards: 0", "Content-Length: 3") + b"abc",), (204,), "closed",
        ),
        refused("OPTIONS with two Max-Forwards", "9110 §7.6.2",
                request(_OPTIONS, "Max-Forwards: 0", "Max-Forwards: 5")),
        refused("OPTIONS with Max-Forwards x", "9110 §7.6.2", request(_OPTIONS, "Max-Forwards: x")),
        passed(
            "GET with Max-Forwards 0", "9110 §7.6.2", request("GET /a HTTP/1.1", "Max-Forwards: 0"),
            saw=Saw("/a", has={"max-forwards": "0"}),
        ),
    ]  # fmt: skip


def _versions() -> list[Case]:
    closes = {
        "HTTP/1.0": ("HTTP/1.0",),
        "HTTP/1.0 without Host": ("HTTP/1.0", None),
    }
    cases = [
        Case(name, "9112 §9.3", (request(f"GET / {given[0]}", host=(*given, "a")[1]),), (200,), "closed", (Saw(),))
        for name, given in closes.items()
    ]
    cases += [
        refused(f"version {version}", "9110 §2.5", request(f"GET / {version}"), status=status)
        for version, status in {
            "HTTP/2.0": 505, "HTTP/1.2": 505, "HTTP/0.9": 505, "HTTP/3.0": 505, "HTTP/1.10": 400, "HTTP/1": 400,
            "http/1.1": 400, "HTTP/1.1 ": 400, "HTTP/ 1.1": 400, "HTTP/1,1": 400, "ICY/1.1": 400, "HTTP/+1.1": 400,
        }.items()
    ]  # fmt: skip
    return [
        *cases,
        refused("no version", "9112 §2.3", b"GET /\r\n\r\n"),
        refused("two spaces before the target", "9112 §3", request("GET  / HTTP/1.1")),
        refused("two spaces before the version", "9112 §3", request("GET /  HTTP/1.1")),
        refused("a tab before the target", "9112 §3", request("GET\t/ HTTP/1.1")),
        refused("a space before the method", "9112 §3", request(" GET / HTTP/1.1")),
        refused("a bare LF after the line", "9112 §2.2", b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
        refused("bare LFs everywhere", "9112 §2.2", b"GET / HTTP/1.1\nHost: a\n\n"),
        refused("a bare CR in the line", "9112 §2.2", b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n"),
        refused("two CRs after the line", "9112 §2.2", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
        passed("an empty line before the request", "9112 §2.2", b"\r\n" + request("GET / HTTP/1.1")),
        passed("three empty lines, split", "9112 §2.2", b"\r\n\r", b"\n\r\n", request("GET / HTTP/1.1")),
        refused("a bare LF before the request", "9112 §2.2", b"\n" + request("GET / HTTP/1.1")),
        passed("a request in three writes", "9112 §2.2", b"GE", b"T / HTTP/1.1\r\nHo", b"st: a\r\n\r\n"),
        passed("a split between CR and LF", "9112 §2.2", b"GET / HTTP/1.1\r", b"\nHost: a\r\n\r", b"\n"),
    ]


LINES = [*_methods(), *_targets(), *_versions()]
