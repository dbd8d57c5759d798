"""The assignment epoch of a device is that of its wave."""

from __future__ import annotations

from services.devices.domain.assignment import Wave, bucket, epoch_of

WAVES = [Wave(0, 100, "service", 7), Wave(100, 1024, "legacy", 3)]


def test_each_device_has_the_epoch_of_its_wave() -> None:
    for device in range(300):
        assert epoch_of(WAVES, device) == (7 if bucket(device) < 100 else 3)


def test_without_a_guard_the_epoch_is_nought() -> None:
    assert epoch_of([], 1) == 0
