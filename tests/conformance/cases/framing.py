"""Where a body ends: Content-Length against Transfer-Encoding, and the chunks themselves."""

from __future__ import annotations

from tests.conformance.case import Case, Got, Saw, passed, refused, request

_POST = "POST / HTTP/1.1"
_GET = "GET / HTTP/1.1"
_CODED = "Transfer-Encoding: chunked"
_ABC = b"3\r\nabc\r\n0\r\n\r\n"
# If a length or coding is read in another way, this is a request of its own.
_SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def _lengths() -> list[Case]:
    bad = {
        "two that differ": ("3", "4"), "two that agree": ("3", "3"), "a list that agrees": ("3, 3",),
        "a list that differs": ("3, 4",), "a sign": ("+3",), "negative": ("-1",), "hexadecimal": ("0x3",),
        "a fraction": ("3.0",), "with an exponent": ("3e0",), "empty": ("",), "a word": ("three",),
        "two numbers": ("3 3",), "beyond 64 bits": ("18446744073709551617",), "beyond 63 bits": ("9" * 19,),
        "beyond all": ("9" * 300,), "an underscore": ("1_0",), "a quoted number": ('"3"',), "a trailing comma": ("3,",),
        "a digit that is not ASCII": ("\xb3",), "a tab inside": ("3\t3",),
    }  # fmt: skip
    return [
        *[
            refused(
                f"Content-Length: {name}", "9112 §6.3",
                request(_POST, *[f"Content-Length: {v}" for v in values], body=b"abc" + _SMUGGLED),
            )
            for name, values in bad.items()
        ],
        passed("Content-Length: 0", "9112 §6.3", request(_POST, "Content-Length: 0"), saw=Saw(method="POST")),
        passed(
            "Content-Length: leading zeros", "9110 §8.6", request(_POST, "Content-Length: 003", body=b"abc"),
            saw=Saw(method="POST", body=b"abc"),
        ),
        passed(
            "Content-Length: white space around", "9110 §5.5", request(_POST, "Content-Length: \t3 ", body=b"abc"),
            saw=Saw(method="POST", body=b"abc"),
        ),
        passed("Content-Length on GET", "9110 §9.3.1", request(_GET, "Content-Length: 3", body=b"abc"),
               saw=Saw(body=b"abc")),
        passed("POST without a length", "9112 §6.3", request(_POST), saw=Saw(method="POST")),
        passed("a body in three writes", "9112 §6.2", request(_POST, "Content-Length: 3", body=b"a"), b"b", b"c",
               saw=Saw(method="POST", body=b"abc")),
        refused("a body of 90 GB announced", "9110 §15.5.14", request(_POST, "Content-Length: 99999999999"),
                status=413),
        refused("a body over the limit", "9110 §15.5.14", request(_POST, "Content-Length: 1001", body=b"x" * 1001),
                status=413, settings={"max_body": 1000}),
        passed("a body at the limit", "9110 §15.5.14", request(_POST, "Content-Length: 1000", body=b"x" * 1000),
               saw=Saw(method="POST", body=b"x" * 1000), settings={"max_body": 1000}),
        refused("a chunked body over the limit", "9110 §15.5.14",
                request(_POST, _CODED, body=b"3e9\r\n" + b"x" * 1001 + b"\r\n0\r\n\r\n"), status=413,
                settings={"max_body": 1000}),
        refused("chunks over the limit together", "9110 §15.5.14",
                request(_POST, _CODED), *[b"190\r\n" + b"x" * 400 + b"\r\n"] * 4, status=413,
                settings={"max_body": 1000}),
    ]  # fmt: skip


def _codings() -> list[Case]:
    refusals = {
        "gzip": (501, "gzip"), "identity": (501, "identity"), "gzip, chunked": (501, "gzip, chunked"),
        "chunked, identity": (501, "chunked, identity"), "chunked, chunked": (501, "chunked, chunked"),
        "xchunked": (501, "xchunked"), "chunkedx": (501, "chunkedx"), "chunked;q=1": (501, "chunked;q=1"),
        "quoted": (501, '"chunked"'), "with a leading comma": (501, ", chunked"),
        "with a trailing comma": (501, "chunked,"), "empty": (501, ""), "after a vertical tab": (400, "\x0bchunked"),
        "after a NUL": (400, "\0chunked"), "chunk ed": (501, "chunk ed"), "chünked": (501, "ch\xfcnked"),
    }  # fmt: skip
    both = {
        "Content-Length, then chunked": ("Content-Length: 3", _CODED),
        "chunked, then Content-Length": (_CODED, "Content-Length: 3"),
        "Content-Length 0 and chunked": ("Content-Length: 0", _CODED),
        "Content-Length and xchunked": ("Content-Length: 3", "Transfer-Encoding: xchunked"),
        "Content-Length and identity": ("Content-Length: 3", "Transfer-Encoding: identity"),
        "Content-Length and an empty coding": ("Content-Length: 3", "Transfer-Encoding:"),
        "Content-Length and a coding after a space": ("Content-Length: 3", "Transfer-Encoding : chunked"),
        "Content-Length and a folded coding": ("Content-Length: 3", "Transfer-Encoding:\r\n chunked"),
        "Content-Length and a coding behind a bare CR": ("Content-Length: 3", "X: y\rTransfer-Encoding: chunked"),
        "Content-Length and a coding behind a bare LF": ("Content-Length: 3", "X: y\nTransfer-Encoding: chunked"),
    }
    twice = {
        "chunked twice": ("chunked", "chunked"), "chunked, then identity": ("chunked", "identity"),
        "identity, then chunked": ("identity", "chunked"), "chunked, then gzip": ("chunked", "gzip"),
        "xchunked, then chunked": ("xchunked", "chunked"),
    }  # fmt: skip
    return [
        *[
            refused(f"coding {name}", "9112 §6.1", request(_POST, f"Transfer-Encoding: {v}", body=_ABC + _SMUGGLED),
                    status=status)
            for name, (status, v) in refusals.items()
        ],
        *[refused(name, "9112 §6.3", request(_POST, *lines, body=_ABC + _SMUGGLED)) for name, lines in both.items()],
        *[
            refused(f"two codings: {name}", "9112 §6.1",
                    request(_POST, *[f"Transfer-Encoding: {v}" for v in values], body=_ABC + _SMUGGLED), status=501)
            for name, values in twice.items()
        ],
        refused("chunked in HTTP/1.0", "9112 §6.1", request("POST / HTTP/1.0", _CODED, body=_ABC + _SMUGGLED)),
        passed("chunked", "9112 §7.1", request(_POST, _CODED, body=_ABC), saw=Saw(method="POST", body=b"abc")),
        passed("chunked in capitals", "9112 §7", request(_POST, "TRANSFER-ENCODING: Chunked", body=_ABC),
               saw=Saw(method="POST", body=b"abc")),
        passed("chunked on GET", "9110 §9.3.1", request(_GET, _CODED, body=_ABC), saw=Saw(body=b"abc")),
        passed("chunked, empty", "9112 §7.1", request(_POST, _CODED, body=b"0\r\n\r\n"), saw=Saw(method="POST")),
    ]  # fmt: skip


def _chunks() -> list[Case]:
    bad = {
        "not a number": b"xyz\r\nabc\r\n", "a sign": b"+3\r\nabc\r\n", "negative": b"-3\r\nabc\r\n",
        "with 0x": b"0x3\r\nabc\r\n", "a leading space": b" 3\r\nabc\r\n", "a trailing space": b"3 \r\nabc\r\n",
        "empty": b"\r\nabc\r\n", "with an underscore": b"0_3\r\nabc\r\n", "17 digits": b"1" * 17 + b"\r\nabc\r\n",
        "64 bits over": b"10000000000000003\r\nabc\r\n", "a bare LF": b"3\nabc\r\n", "a bare CR": b"3\rabc\r\n",
        "with junk": b"3 x\r\nabc\r\n", "with a comma": b"3,\r\nabc\r\n",
        "a space before the extension": b"3 ; a\r\nabc\r\n", "a control byte": b"3\x01\r\nabc\r\n",
        "a NUL in an extension": b"3;a\0\r\nabc\r\n", "a bare LF in an extension": b"3;a\nb\r\nabc\r\n",
        "a bare CR in an extension": b"3;a\rb\r\nabc\r\n",
        "an extension of 300 bytes": b"3;" + b"a" * 300 + b"\r\nabc\r\n",
    }  # fmt: skip
    ends = {
        "shorter than it says": b"4\r\nabc\r\n0\r\n\r\n", "longer than it says": b"3\r\nabcd\r\n0\r\n\r\n",
        "ends with a bare LF": b"3\r\nabc\n0\r\n\r\n", "ends with CR only": b"3\r\nabc\r0\r\n\r\n",
        "ends with CR CR LF": b"3\r\nabc\r\r\n0\r\n\r\n",
    }  # fmt: skip
    good = {
        "an extension": b"3;a=b\r\nabc\r\n0\r\n\r\n", "a quoted extension": b'3;a="b;c"\r\nabc\r\n0\r\n\r\n',
        "an extension of the last": b"3\r\nabc\r\n0;a\r\n\r\n",
        "capitals and zeros": b"0003\r\nabc\r\n00\r\n\r\n", "three chunks": b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n",
        "CRLF in the data": b"3\r\nabc\r\n0\r\n\r\n",
    }  # fmt: skip
    return [
        *[
            refused(f"chunk size: {n}", "9112 §7.1", request(_POST, _CODED, body=b + b"0\r\n\r\n" + _SMUGGLED))
            for n, b in bad.items()
        ],
        *[refused(f"chunk: {n}", "9112 §7.1", request(_POST, _CODED, body=b + _SMUGGLED)) for n, b in ends.items()],
        *[
            passed(f"chunks: {n}", "9112 §7.1", request(_POST, _CODED, body=b), saw=Saw(method="POST", body=b"abc"))
            for n, b in good.items()
        ],
        passed("chunks: one byte a write", "9112 §7.1", request(_POST, _CODED), *[_ABC[i : i + 1] for i in range(14)],
               saw=Saw(method="POST", body=b"abc")),
        Case("chunks: the client leaves before the last", "9112 §8", (request(_POST, _CODED, body=b"3\r\nabc\r\n"),),
             (), "closed", eof=True),
        Case("a body cut short by the client", "9112 §8", (request(_POST, "Content-Length: 9", body=b"abc"),), (),
             "closed", eof=True),
    ]  # fmt: skip


def _trailers() -> list[Case]:
    def coded(*lines: bytes) -> bytes:
        return b"3\r\nabc\r\n0\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"

    forbidden = (
        b"Transfer-Encoding: chunked", b"Content-Length: 3", b"Host: b", b"Authorization: x", b"Cookie: a=b",
        b"Content-Type: text/plain", b"Connection: close", b"X-Forwarded-For: 1.2.3.4", b"Banyan-Owner: legacy",
        b"Content_Length: 3", b"Trailer: x", b"Expect: 100-continue",
    )  # fmt: skip
    bad = {
        "a space before the colon": b"X : y", "no colon": b"X", "folded": b"X: y\r\n z", "a NUL": b"X: y\0",
        "a bare LF": b"X: y\nZ: w", "no name": b": y",
    }  # fmt: skip
    return [
        *[
            refused(f"trailer {line.decode()}", "9110 §6.5.1", request(_POST, _CODED, body=coded(line) + _SMUGGLED))
            for line in forbidden
        ],
        *[
            refused(f"trailer: {n}", "9112 §7.1.2", request(_POST, _CODED, body=coded(line) + _SMUGGLED))
            for n, line in bad.items()
        ],
        passed("trailers are passed on", "9110 §6.5", request(_POST, _CODED, "Trailer: X-Sum", body=coded(b"X-Sum: 1")),
               saw=Saw(method="POST", body=b"abc", trailers=("X-Sum: 1",), has={"trailer": "X-Sum"})),
        passed("two trailers, split", "9110 §6.5", request(_POST, _CODED, body=b"3\r\nabc\r\n0\r\nX-Su"), b"m: 1\r",
               b"\nY: \r\n\r\n", saw=Saw(method="POST", body=b"abc", trailers=("X-Sum: 1", "Y: "))),
        refused("33 trailers", "6585 §5", request(_POST, _CODED, body=coded(*[b"X: y"] * 33)), status=431),
        refused("9 KiB of trailers", "6585 §5", request(_POST, _CODED, body=coded(*[b"X: " + b"y" * 1500] * 6)),
                status=431),
        passed("Trailer without chunks is not passed on", "9110 §6.6.2", request(_GET, "Trailer: X-Sum"),
               saw=Saw(has={"trailer": None}), got=Got(body=b"ok")),
    ]  # fmt: skip


FRAMING = [*_lengths(), *_codings(), *_chunks(), *_trailers()]
