"""Who a request came from, as the upstream is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import SettingsRefused
from gateway.http1.head import Request, parse_request
from gateway.http1.hops import Hops
from gateway.settings import from_environment

TOKEN = {"GATEWAY_ADMIN_TOKEN": "x" * 16}


def asked(*lines: bytes, host: bytes = b"a") -> Request:
    return parse_request(b"\r\n".join([b"GET / HTTP/1.1", b"Host: " + host, *lines, b"", b""]))


def test_an_ipv6_peer_is_told_without_its_zone_and_in_brackets() -> None:
    lines = Hops(b"fe80::1%eth0", b"https", 0).lines(asked())
    assert b"X-Forwarded-For: fe80::1\r\n" in lines
    assert b'Forwarded: for="[fe80::1]";host="a";proto=https\r\n' in lines
    assert b"X-Forwarded-Proto: https\r\n" in lines


def test_each_request_of_a_connection_is_told_with_its_own_host() -> None:
    hops = Hops(b"::1", b"http", 0)
    told = [hops.lines(asked(host=host)) for host in (b"a", b"b", b"a", b"a")]
    assert [b'host="a"' in lines for lines in told] == [True, False, True, True]
    assert b"X-Forwarded-Host: b\r\n" in told[1]
    assert b"Via: 1.0 banyan" in hops.lines(parse_request(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n"))


@given(st.lists(st.text("0123456789.", min_size=1, max_size=9), max_size=6), st.integers(0, 4))
def test_of_a_list_as_many_entries_count_as_there_are_trusted_proxies(entries: list[str], trusted: int) -> None:
    lists = [", ".join(entries[:2]), ",".join(entries[2:])]
    request = asked(*[b"X-Forwarded-For: " + one.encode() for one in lists if one])
    told = Hops(b"9.9.9.9", b"http", trusted).lines(request).split(b"\r\n")[0].decode()
    kept = entries[-trusted:] if trusted else []
    assert told == "X-Forwarded-For: " + ", ".join([*kept, "9.9.9.9"])


@given(st.text('for=;,"\\ 1.host', max_size=40))
def test_whatever_a_trusted_proxy_says_the_gateways_own_element_stands_alone_at_the_end(said: str) -> None:
    lines = Hops(b"9.9.9.9", b"http", 1).lines(asked(b"Forwarded: " + said.encode()))
    value = next(line for line in lines.split(b"\r\n") if line.startswith(b"Forwarded: "))
    before, own, after = value.rpartition(b'for=9.9.9.9;host="a";proto=http')
    assert own
    assert not after
    quoted = False
    for at, byte in enumerate(before):
        quoted ^= byte == ord('"') and before[at - 1 : at] != b"\\"
    assert not quoted, "ours is not inside of somebody's quotes"


@pytest.mark.parametrize("given_", ["-1", "1.5", "17", "one"])
def test_a_count_of_trusted_proxies_that_is_none_is_refused(given_: str) -> None:
    with pytest.raises(SettingsRefused, match="GATEWAY_TRUSTED_HOPS"):
        from_environment({**TOKEN, "GATEWAY_TRUSTED_HOPS": given_})


def test_nobody_is_trusted_unless_it_is_set() -> None:
    assert from_environment(TOKEN).trusted_hops == 0
    assert from_environment({**TOKEN, "GATEWAY_TRUSTED_HOPS": "2"}).trusted_hops == 2
