"""What an answer tells of backends, and which cookies go where: tables of cases."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.control.front import Facade, ShownCookie
from gateway.facade.answers import set_cookie, shown
from gateway.facade.cookies import allowing, filtered
from gateway.facade.places import Places, Public, public_of
from tests.unit.gateway.tables import table

OURS = public_of(b"shop.example:8443", b"https")
NOBODY = public_of(b"", b"http")
PLACES = Places(msgspec.structs.replace(table(), facade=Facade(hosts=["old.internal", "db.internal:9"])))


@pytest.mark.parametrize(
    ("told", "hidden"),
    [
        (b"http://127.0.0.1:1/a?b#c", b"https://shop.example:8443/a?b#c"),
        (b"HTTP://127.0.0.1:1", b"https://shop.example:8443"),
        (b"http://127.0.0.1/a", b"https://shop.example:8443/a"),
        (b"//127.0.0.1:2/a", b"//shop.example:8443/a"),
        (b"http://me:secret@127.0.0.1:2/a", b"https://shop.example:8443/a"),
        (b"https://OLD.internal/a", b"https://shop.example:8443/a"),
        (b"http://old.internal:5000/a", b"https://shop.example:8443/a"),
        (b"http://db.internal:9/a", b"https://shop.example:8443/a"),
        (b"http:\\/\\/127.0.0.1:1\\/a", b"https:\\/\\/shop.example:8443\\/a"),
        (b"https://idp/?back=http%3A%2F%2F127.0.0.1%3A1%2Fa", b"https://idp/?back=https%3A%2F%2Fshop.example%3A8443%2Fa"),
        (b"https://idp/?back=http%3a%2f%2fold.internal%3a5000%2fa", b"https://idp/?back=https%3A%2F%2Fshop.example%3A8443%2fa"),
    ],
)  # fmt: skip
def test_the_place_of_a_backend_becomes_ours(told: bytes, hidden: bytes) -> None:
    assert PLACES.hidden(told, OURS) == hidden


@pytest.mark.parametrize(
    "told",
    [
        b"/a", b"a/b", b"https://elsewhere.example/a", b"http://127.0.0.1:11/a", b"http://127.0.0.1:1.example/a",
        b"http://notold.internal/a", b"http://old.internal.example/a", b"/a//127.0.0.1:1/b", b"http://db.internal:90/",
        b"http://127.0.0.1:1@elsewhere.example/", b"http://127.0.0.1x/",
    ],
)  # fmt: skip
def test_other_places_stay(told: bytes) -> None:
    assert PLACES.hidden(told, OURS) == told


def test_a_client_that_did_not_say_who_we_are_gets_links_without_a_host() -> None:
    assert PLACES.hidden(b"http://127.0.0.1:1/a", NOBODY) == b"/a"
    assert PLACES.hidden(b"http://127.0.0.1:1", NOBODY) == b"/"


def test_a_host_that_would_break_out_of_a_document_is_not_written_into_one() -> None:
    """RFC 9110 lets a host have quotes; a body with it would carry what the client sent as markup."""
    assert public_of(b"a'onload='b", b"http").origin == b""


@pytest.mark.parametrize(
    ("told", "right"),
    [
        (b"http://shop.example:8443/a", b"https://shop.example:8443/a"),  # TLS ends at our door
        (b"http://shop.example:2/a", b"https://shop.example:8443/a"),  # named its own port
        (b"http://shop.example:8080/a", b"http://shop.example:8080/a"),
        (b"http://shop.example.org/a", b"http://shop.example.org/a"),
        (b"/a", b"/a"),
    ],
)
def test_a_link_to_us_gets_our_scheme_and_port(told: bytes, right: bytes) -> None:
    assert PLACES.ours(told, OURS) == right


@pytest.mark.parametrize(
    ("told", "rule", "seen"),
    [
        (b"a=b; Path=/; HttpOnly", None, b"a=b; Path=/; HttpOnly"),
        (b"a=b; Domain=old.internal; Path=/", None, b"a=b; Path=/"),
        (b"a=b; domain=.internal", None, b"a=b"),
        (b"a=b; Domain=example", None, b"a=b; Domain=example"),
        (b"a=b; Domain=.shop.example", None, b"a=b; Domain=.shop.example"),
        (b"a=b; Domain=op.example", None, b"a=b"),
        (b"a=Domain=x; Path=/old; Domain=x", ShownCookie(path="/"), b"a=Domain=x; Path=/"),
        (b"a=b; Domain=x; Secure", ShownCookie(domain="example", secure=True), b"a=b; Domain=example; Secure"),
    ],
)
def test_a_cookie_is_one_that_browsers_keep(told: bytes, rule: ShownCookie | None, seen: bytes) -> None:
    assert set_cookie(told, OURS, rule) == seen


def test_only_the_headers_that_tell_are_touched_and_the_rest_stays_byte_for_byte() -> None:
    head = (
        b"HTTP/1.1 302 Found\r\nX-Odd:  http://127.0.0.1:1/ \r\nLocation: http://127.0.0.1:1/a\r\n"
        b'Alt-Svc: h3=":1"\r\nLINK: <http://127.0.0.1:1/x>; rel=next, </y>\r\n'
        b"Refresh: 5;url=//127.0.0.1:2/z\r\nSet-Cookie: sid=1; Domain=x\r\n"
        b"Set-Cookie: other=1\r\nContent-Location: /kept\r\n"
    )  # fmt: skip
    assert shown(head, OURS, PLACES, {}, allowing(["sid"])) == (
        b"HTTP/1.1 302 Found\r\nX-Odd:  http://127.0.0.1:1/ \r\nLocation: https://shop.example:8443/a\r\n"
        b"LINK: <https://shop.example:8443/x>; rel=next, </y>\r\nRefresh: 5;url=//shop.example:8443/z\r\n"
        b"Set-Cookie: sid=1\r\nContent-Location: /kept\r\n"
    )


def test_cookies_of_the_other_side_are_left_out() -> None:
    allows = allowing(["session", "app_*"])
    head = b"GET / HTTP/1.1\r\nCookie: session=a=b; legacy=1;app_x=2\r\nHost: x\r\ncookie: other=1\r\n\r\n"
    assert filtered(head, allows) == b"GET / HTTP/1.1\r\nCookie: session=a=b; app_x=2\r\nHost: x\r\n\r\n"
    assert filtered(head, allowing([])) == b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


_BACKENDS = st.sampled_from(
    [b"http://127.0.0.1:1", b"//127.0.0.1:2", b"https://old.internal:7", b"http://u:p@db.internal:9"]
)
_BETWEEN = st.sampled_from([b"/", b"?a=", b" ", b'"', b"<", b",", b"'", b"/x#", b"=", b";"])


@given(st.lists(st.tuples(_BETWEEN, _BACKENDS, _BETWEEN), max_size=6))
def test_no_place_of_a_backend_is_left_wherever_it_stands(parts: list[tuple[bytes, bytes, bytes]]) -> None:
    told = b"".join(b" " + before + place + after for before, place, after in parts if before != b"/")
    for public in (OURS, NOBODY, Public(b"http", b"[::1]:80")):
        hidden = PLACES.hidden(told, public)
        assert b"127.0.0.1:" not in hidden
        assert b".internal" not in hidden
        assert PLACES.hidden(hidden, public) == hidden
