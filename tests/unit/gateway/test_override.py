"""A tester's signed choice of side, and what does not count as one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import SettingsRefused
from gateway.policies.override import LONGEST_SECONDS, Refused, override_key, side_of, sign

KEY = b"k" * 32
NOW = 1_800_000_000


def test_a_signed_override_names_its_side() -> None:
    assert side_of(KEY, sign(KEY, "shop", "service", NOW + 1).encode(), "shop", NOW) == "service"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (sign(KEY, "shop", "service", NOW), "expired"),
        (sign(KEY, "shop", "service", NOW + LONGEST_SECONDS + 1), "too-long"),
        (sign(KEY, "other", "service", NOW + 1), "elsewhere"),
        (sign(b"x" * 32, "shop", "service", NOW + 1), "forged"),
        (sign(KEY, "shop", "service", NOW + 1).replace("service", "legacy"), "forged"),
        (sign(KEY, "shop", "service", NOW).replace(f"exp={NOW}", f"exp={NOW + 9}"), "forged"),
        (sign(KEY, "shop", "service", NOW + 1).replace("shop", "shops"), "forged"),
        (sign(KEY, "shop", "both", NOW + 1), "malformed"),
        ("side=service", "malformed"),
        ("", "malformed"),
    ],
)
def test_what_does_not_count(value: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        side_of(KEY, value.encode(), "shop", NOW)


@given(st.data())
def test_no_changed_byte_goes_unnoticed(data: st.DataObject) -> None:
    value = bytearray(sign(KEY, "shop", "service", NOW + 60).encode())
    at = data.draw(st.integers(0, len(value) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != value[at]))
    value[at] = byte
    with pytest.raises(Refused):
        side_of(KEY, bytes(value), "shop", NOW)


def test_the_key_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("f" * 32 + "\n")
    assert override_key({}) is None
    assert override_key({"GATEWAY_OVERRIDE_KEY": "k" * 32}) == KEY
    assert override_key({"GATEWAY_OVERRIDE_KEY_FILE": str(file)}) == b"f" * 32
    for bad, reason in (
        ({"GATEWAY_OVERRIDE_KEY": "short"}, "at least 32"),
        ({"GATEWAY_OVERRIDE_KEY_FILE": str(tmp_path / "none")}, "cannot read"),
        ({"GATEWAY_OVERRIDE_KEY": "k" * 32, "GATEWAY_OVERRIDE_KEY_FILE": str(file)}, "not both"),
    ):
        with pytest.raises(SettingsRefused, match=reason):
            override_key(bad)
