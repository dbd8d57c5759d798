"""The key of a request, from wherever it comes: one request, one key, for every reader."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.control.table import Operation
from gateway.http1.head import Request, parse_request
from gateway.routing.bucket import bucket
from gateway.routing.keys import MAX_KEY, first_key, query_values, source
from gateway.routing.router import Router
from tests.unit.gateway.tables import table

SPECS = ["header:x-key", "query:key", "cookie:key"]
# What a header's value may be made of: visible characters, inner blanks, and bytes above ASCII.
FIELD = st.binary(max_size=40).map(lambda raw: bytes(b for b in raw if b > 32 and b != 127))
COOKIE = FIELD.map(lambda raw: bytes(b for b in raw if b not in b';," '))
TEXT = st.text(max_size=60)
WORD = st.text("ab", min_size=1, max_size=2)


def request(target: str = "/", *lines: bytes) -> Request:
    return parse_request(b"\r\n".join([b"GET %b HTTP/1.1" % target.encode(), b"Host: a", *lines, b"", b""]))


def key(found: Request, *specs: str) -> str | None:
    return first_key([source(spec, ()) for spec in specs], found, ())


def in_a_path(segment: bytes) -> bool:
    """The gateway refuses the others: two servers may take them for two paths."""
    return not {*segment} & {*b"/\\\0"} and segment not in (b"", b".", b"..")


def routed(found: Request) -> tuple[str | None, set[bytes]]:
    """The key by an operation of a table, and every identity by which a pin may know the client."""
    operations = [
        Operation("seats.get", "GET", "/seats/{id}", "read", ["path:id"]),
        Operation("root", "GET", "/", "read", SPECS),
    ]
    route, values = Router(table(operations=operations)).match(found.method, found.path, found)
    return route.key_of(found, values), set(route.identities_of(found, values))


@given(TEXT)
def test_a_path_a_query_and_a_form_spell_the_same_key(text: str) -> None:
    expected = text or None
    if expected and len(text.encode()) > MAX_KEY:
        expected = None
    assert key(request(f"/?key={quote(text, safe='')}"), "query:key") == expected
    assert key(request(f"/?a=1&key={quote_plus(text)}&b=2"), "query:key") == expected
    every_byte = "".join(f"%{byte:02x}" for byte in text.encode())
    assert key(request(f"/?k%65y={every_byte}"), "query:key") == expected
    if in_a_path(text.encode()):
        assert routed(request(f"/seats/{every_byte}"))[0] == expected


@given(FIELD)
def test_a_header_is_one_key_however_its_name_is_spelled_and_its_value_padded(value: bytes) -> None:
    keys = {
        key(request("/", name + b":" + pad + value + pad), "header:X-Key")
        for name in (b"X-Key", b"x-key", b"X-KEY")
        for pad in (b"", b" ", b" \t ")
    }
    assert len(keys) == 1
    found = keys.pop()
    assert (found is None) is (not value)
    if found is not None:
        assert 0 <= bucket(found) < 1024


@given(COOKIE, COOKIE)
def test_a_cookie_is_found_among_others_quoted_or_not(value: bytes, other: bytes) -> None:
    plain = request("/", b"Cookie: keys=%b; key=%b; akey=%b" % (other, value, other))
    split = request("/", b"Cookie: keys=%b" % other, b"Cookie: key=%b" % value)
    assert key(plain, "cookie:key") == key(split, "cookie:key")
    if value and b'"' not in value:
        quoted = request("/", b'Cookie: key="%b"' % value)
        assert key(quoted, "cookie:key") == key(plain, "cookie:key") is not None


@given(WORD, WORD, st.sampled_from(SPECS))
def test_a_source_with_two_values_names_no_key_and_no_later_source_is_asked(one: str, other: str, spec: str) -> None:
    if spec == "header:x-key":
        found = request("/?q=1", f"X-Key: {one}".encode(), f"x-kEY: {other}".encode())
    elif spec == "cookie:key":
        found = request("/?q=1", f"Cookie: key={one}; key={other}".encode())
    else:
        found = request(f"/?q=1&key={one}&key={other}")
    assert key(found, spec, "query:q") == (one if one == other else None)


@given(st.sampled_from(SPECS), st.integers(MAX_KEY - 2, MAX_KEY + 2))
def test_a_key_that_is_too_long_is_none_and_hides_those_after_it(spec: str, size: int) -> None:
    long = b"k" * size
    lines = {"header:x-key": b"X-Key: " + long, "cookie:key": b"Cookie: key=" + long}
    target = f"/?q=1&key={long.decode()}" if spec == "query:key" else "/?q=1"
    found = request(target, *([lines[spec]] if spec in lines else []))
    assert key(found, spec, "query:q") == (long.decode() if size <= MAX_KEY else None)


@pytest.mark.parametrize("line", [b"X-Key:", b"X-Key: \t ", b"Cookie: key=", b'Cookie: key=""', b"Cookie: other=1"])
def test_an_empty_source_gives_way_to_the_next(line: bytes) -> None:
    assert key(request("/?key=7", line), "header:x-key", "cookie:key", "query:key") == "7"


@given(st.binary(min_size=1, max_size=30))
def test_who_wrote_under_a_path_is_known_under_a_query_and_a_header(raw: bytes) -> None:
    assume(in_a_path(raw))
    spelled = "".join(f"%{byte:02X}" for byte in raw)
    path_key, written = routed(request(f"/seats/{spelled}"))
    query_key, read = routed(request(f"/?key={spelled}"))
    assert path_key == query_key
    assert written & read, "a pin made by one is found by the other"
    if bytes(b for b in raw if b > 32 and b != 127) == raw:
        header_key, by_header = routed(request("/", b"X-Key: " + raw))
        assert header_key == path_key
        assert by_header & written


@given(st.binary(max_size=60))
def test_a_query_is_read_as_a_form_is(query: bytes) -> None:
    safe = bytes(b for b in query if 32 < b < 127 and b != ord("#"))
    text = safe.decode()
    expected = [
        value.encode("utf-8", "surrogateescape")
        for name, value in parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
        if name == "a"
    ]
    found = [value for value in query_values(safe, b"a") if b"&" not in value]
    assert found == expected


CLAIMS: dict[str, Any] = {
    "sub": "42", "n": 7, "yes": True, "f": 1.5, "none": None, "list": ["1"], "customer": {"id": "c-9"}, "a.b": "flat",
    "a": {"b": "deep"}, "uni": "zoë", "empty": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("sub", "42"), ("n", "7"), ("yes", None), ("f", None), ("none", None), ("list", None), ("customer", None),
        ("customer.id", "c-9"), ("customer.name", None), ("a.b", "flat"), ("uni", "zoë"), ("empty", None),
        ("sub.x", None), ("nobody", None),
    ],
)  # fmt: skip
def test_a_claim_of_a_verified_token_is_a_key(claim: str, expected: str | None) -> None:
    found = request()
    found.claims = CLAIMS
    assert key(found, f"jwt:{claim}") == expected


def test_a_token_that_nobody_verified_names_nobody() -> None:
    forged = b"Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiI0MiJ9."
    found = request("/?key=fallback", forged)
    assert key(found, "jwt:sub") is None
    assert key(found, "jwt:sub", "query:key") == "fallback"
    assert json.loads('{"sub":"42"}')["sub"] == "42", "what it would have said"


def test_a_claim_is_an_identity_for_pins() -> None:
    operations = [Operation("root", "GET", "/", "read", ["jwt:sub"])]
    router = Router(table(operations=operations).validated())
    found = request()
    found.claims = CLAIMS
    route, values = router.match(found.method, found.path, found)
    assert route.identities_of(found, values) == [b"42", b"42"]
