"""Settings of the fleet, versions of the agent, tags of documents, what a watcher is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import SettingsError
from services.devices.domain.devices import Command
from services.devices.domain.documents import Document, tags
from services.devices.domain.twin import delta
from services.devices.domain.versions import is_for, is_news, numbers
from services.devices.fleet import settings
from services.devices.fleet.settings import FleetSettings
from services.devices.fleet.watching import words
from services.devices.store.progress import Progress

NOW = datetime(2024, 7, 1, 10, tzinfo=UTC)


def test_without_settings_the_defaults_hold() -> None:
    assert settings.load({}) == FleetSettings()


def test_settings_are_read_and_secrets_are_not_shown() -> None:
    env = {"REDIS_URL": "redis://:hush@h/0", "MOST_WAITING": "0", "OFFLINE_AFTER_S": "60", "OTA_KEY_FILE": "/k"}
    found = settings.load({f"DEVICES_{name}": value for name, value in env.items()})
    assert (found.most_waiting, found.offline_after_s, found.ota_key) == (0, 60, Path("/k"))
    assert "hush" not in repr(found)


@pytest.mark.parametrize(
    ("name", "value"), [("REDIS_URL", "http://x"), ("MOST_WAITING", "-1"), ("OFFLINE_AFTER_S", "9"), ("LOG_DAYS", "x")]
)
def test_a_setting_that_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"DEVICES_{name}"):
        settings.load({f"DEVICES_{name}": value})


@given(st.integers(1, 10**9), st.integers(0, 100), st.integers(0, 100))
def test_whoever_is_in_a_share_is_in_each_larger_one(device: int, one: int, other: int) -> None:
    less, more = sorted((one, other))
    assert is_for(more, device) or not is_for(less, device)
    assert is_for(100, device)
    assert not is_for(0, device)


def test_versions_are_compared_as_numbers() -> None:
    assert numbers("1.10.0") > numbers("1.9.9")
    assert is_news("1.10.0", None, "1.9.9")
    assert not is_news("1.10.0", None, "1.10.0")
    assert not is_news("2.0.0", "1.5.0", "1.4.9")
    assert is_news("2.0.0", "1.5.0", None)


def command(ref: str) -> Command:
    return Command(ref, "charge", 100, NOW, NOW)


def test_a_document_with_nothing_but_a_schedule_is_known_by_its_version() -> None:
    assert Document(1, 7).etag == '"7"'


def test_whatever_differs_for_the_device_has_another_tag() -> None:
    documents = [
        Document(1, 7),
        Document(1, 8),
        Document(1, 7, fallback_version=1),
        Document(1, 7, epoch=1),
        Document(1, 7, commands=(command("a"),)),
        Document(1, 7, commands=(command("b"),)),
        Document(1, 7, commands=(command("a"), command("b"))),
    ]
    assert len({document.etag for document in documents}) == len(documents)


def test_that_a_command_was_given_is_no_change() -> None:
    assert Document(1, commands=(command("a"),), unsent=("a",)).etag == Document(1, commands=(command("a"),)).etag


def test_tags_are_compared_weakly() -> None:
    assert tags('W/"1", "2-x"') == {'"1"', '"2-x"'}


def progress(**more: Any) -> Progress:
    fixed = ("r", 1, UUID(int=1), "api", 0, more.pop("state", "queued"), "why", "charge", 1, None, None, NOW, NOW)
    return Progress(*fixed, **more)


def test_a_watcher_is_told_of_steps_that_were_taken_and_not_of_those_that_were_skipped() -> None:
    later, last = NOW + timedelta(seconds=1), NOW + timedelta(seconds=2)
    taken = progress(state="failed", sent_at=later, delivered_at=last, settled_at=last)
    assert [(word.state, word.at, word.note) for word in words(taken)] == [
        ("queued", NOW, ""), ("sent", later, ""), ("failed", last, "why"),
    ]  # fmt: skip
    assert [word.state for word in words(progress())] == ["queued"]


def test_the_delta_is_what_is_wanted_and_not_so() -> None:
    desired: Any = SimpleNamespace(schedule_version=3, fallback_version=1, agent_version=None)
    reported: Any = SimpleNamespace(schedule_version=2, fallback_version=1, agent_version="1.0.0")
    assert delta(desired, reported) == {"schedule_version": 3}
    assert delta(desired, None) == {"schedule_version": 3, "fallback_version": 1}
