"""What the keeper of the table does when the disk fails: a change is whole and audited, or nobody hears of it."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import msgspec
import pytest

from gateway.control import stored
from gateway.control.keeper import Keeper
from gateway.control.table import RouteTable
from gateway.errors import VersionConflict
from gateway.settings import Settings
from tests.unit.gateway.tables import table, wave

CANARY = table(wave(phase="canary"))


class Claims:
    """Stands for the other nodes."""

    def __init__(self, keeper: Keeper, conflict: bool = False) -> None:
        self.made: list[RouteTable] = []
        self._conflict = conflict
        keeper.claim = self

    async def __call__(self, claimed: RouteTable) -> None:
        if self._conflict:
            raise VersionConflict(claimed.version - 1, claimed.version)
        self.made.append(claimed)


def change(keeper: Keeper) -> None:
    asyncio.run(keeper.change(keeper.table.version, lambda _: CANARY, "ann", "go"))


def test_a_change_that_cannot_be_audited_is_not_made(tmp_path: Path) -> None:
    keeper = Keeper(Settings(state_dir=tmp_path), table())
    claims = Claims(keeper)
    keeper._settings.audit_file.mkdir()
    with pytest.raises(OSError, match="audit"):
        change(keeper)
    assert (keeper.table, claims.made) == (table(), [])
    assert [path.name for path in tmp_path.iterdir()] == [keeper._settings.audit_file.name]


def test_a_disk_that_fails_stops_a_change_before_other_nodes_hear_of_it(tmp_path: Path) -> None:
    keeper = Keeper(Settings(state_dir=tmp_path), table())
    claims = Claims(keeper)
    keeper._settings.table_file.with_suffix(f".{os.getpid()}.new").mkdir()
    with pytest.raises(OSError, match="new"):
        change(keeper)
    assert (keeper.table, claims.made) == (table(), [])
    intent, withdrawn = keeper.audit.newest(5)
    assert (intent["reason"], intent["after"]["version"]) == ("go", 8)
    assert withdrawn["reason"].startswith("not made: ")
    assert withdrawn["after"] == {"version": 7}


def test_a_change_that_another_node_was_faster_with_leaves_no_table_and_says_so(tmp_path: Path) -> None:
    keeper = Keeper(Settings(state_dir=tmp_path), table())
    Claims(keeper, conflict=True)
    with pytest.raises(VersionConflict):
        change(keeper)
    assert [path.name for path in tmp_path.iterdir()] == [keeper._settings.audit_file.name]
    assert keeper.audit.newest(1)[0]["reason"].startswith("not made: the route table is at version 8")


def test_a_disk_that_fails_once_all_nodes_have_the_change_does_not_deny_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Keeper(Settings(state_dir=tmp_path), table())
    claims = Claims(keeper)

    def fails(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(stored, "announce", fails)
    monkeypatch.setattr(stored, "save", fails)
    change(keeper)
    assert claims.made == [keeper.table] == [msgspec.structs.replace(CANARY, version=8)]
    assert [entry["reason"] for entry in keeper.audit.newest(5)] == ["go"]


def test_a_change_that_is_not_durable_is_answered_before_the_disk_has_it_and_the_next_lies_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = Keeper(Settings(state_dir=tmp_path), table())
    slow, saved, save = threading.Event(), [], stored.save

    def save_slowly(path: Path, newest: RouteTable) -> None:
        assert slow.wait(10)
        save(path, newest)
        saved.append(newest.version)

    async def hold_and_release() -> None:
        await keeper.change(7, lambda _: CANARY, "ann", "hold", durable=False)
        assert (keeper.table.version, saved) == (8, [])
        assert stored.kept(keeper._settings.table_file).version == 8, "a worker that starts now has it"
        publishing = asyncio.create_task(keeper.change(8, lambda _: table(), "ann", "publish"))
        await asyncio.sleep(0)
        slow.set()
        await publishing

    stored.save(keeper._settings.table_file, table())
    monkeypatch.setattr(stored, "save", save_slowly)
    asyncio.run(hold_and_release())
    assert saved[-1] == keeper.table.version == stored.kept(keeper._settings.table_file).version == 9
