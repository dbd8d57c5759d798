"""A service says which variable it lacks, and never shows a secret."""

from __future__ import annotations

import pytest

from services.chassis.errors import SettingsError
from services.chassis.settings import load

GOOD = {
    "PRICING_DATABASE_URL": "postgresql://u:hidden@127.0.0.1/pricing",
    "LEGACY_SECRET_KEY": "hidden",
    "LEGACY_BACKOFFICE_KEY": "hidden",
}


def test_a_libpq_url_is_rewritten_for_sqlalchemy() -> None:
    assert load("pricing", GOOD).database_url == "postgresql+psycopg://u:hidden@127.0.0.1/pricing"


def test_secrets_do_not_show_in_a_log_line() -> None:
    assert "hidden" not in repr(load("pricing", GOOD))


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_a_missing_variable_is_named(missing: str) -> None:
    with pytest.raises(SettingsError, match=missing):
        load("pricing", {name: value for name, value in GOOD.items() if name != missing})


@pytest.mark.parametrize(
    "change",
    [{"PRICING_DATABASE_URL": "mysql://x"}, {"PRICING_POOL_SIZE": "0"}, {"PRICING_POOL_SIZE": "many"}],
)
def test_a_value_that_cannot_be_used_is_refused(change: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        load("pricing", {**GOOD, **change})
