"""Claim codes as people type them, and how often they may."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from services.devices.domain.claims import digest, make
from services.devices.fleet.tries import MOST_ADDRESSES, Tries


@given(st.integers())
def test_a_code_is_known_again_however_it_is_typed(seed: int) -> None:
    code = make(random.Random(seed).choice)
    known = digest(code)
    assert known is not None
    for typed in (
        code.lower(),
        code.replace("-", ""),
        code.replace("-", " "),
        code.replace("0", "o").replace("1", "l"),
    ):
        assert digest(typed) == known


@given(st.text(max_size=30))
def test_any_text_has_a_digest_or_is_no_code(text: str) -> None:
    assert (found := digest(text)) is None or len(found) == 64


def test_an_address_gets_its_tries_back_with_time_and_others_keep_theirs() -> None:
    clock = [0.0]
    tries = Tries(lambda: clock[0], per_minute=2)
    assert [tries.take("a") for _ in range(3)] == [0, 0, 30]
    assert tries.take("b") == 0
    clock[0] = 29.9
    assert tries.take("a") == 1
    clock[0] = 30.1
    assert tries.take("a") == 0


def test_the_number_of_addresses_is_bounded() -> None:
    tries = Tries(lambda: 0.0)
    for n in range(MOST_ADDRESSES + 10):
        tries.take(str(n))
    assert len(tries._buckets) == MOST_ADDRESSES
