"""What the workers of a machine know of a wave's owner, whatever the table of one of them says."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.control.table import Domain, RouteTable, Wave
from gateway.policies import owners as module
from gateway.policies.owners import Owners, Side


def table(owner: Side, epoch: int, *, hold: bool = False) -> RouteTable:
    wave = Wave(0, 0, 1024, phase="canary", owner=owner, epoch=epoch, hold=hold)
    return RouteTable(version=1, upstreams={}, domains={"shop": Domain(service="shop", waves=[wave], operations=[])})


def test_what_one_worker_learns_all_know(tmp_path: Path) -> None:
    one, other = Owners(tmp_path / "owners"), Owners(tmp_path / "owners")
    one.take(table("legacy", 3, hold=True))
    assert other.newest("shop", 0, 3) == "legacy"
    one.learn("shop", 0, "service", 4)
    assert other.newest("shop", 0, 3) == "service"
    assert Owners(tmp_path / "owners").newest("shop", 0, 3) == "service", "who comes later too"


def test_older_words_change_nothing() -> None:
    owners = Owners()
    owners.learn("shop", 0, "service", 4)
    owners.take(table("legacy", 3))
    assert owners.newest("shop", 0, 3) == "service"


def test_who_knows_less_than_the_table_is_not_certain() -> None:
    owners = Owners()
    assert owners.newest("shop", 0, 0) is None
    owners.learn("shop", 0, "legacy", 3)
    assert owners.newest("shop", 0, 4) is None
    assert owners.newest("shop", 1, 0) is None
    assert owners.newest("shop", None, 0) is None


def test_with_other_nodes_nothing_is_certain() -> None:
    owners = Owners(alone=False)
    owners.learn("shop", 0, "legacy", 3)
    assert owners.newest("shop", 0, 3) is None


def test_a_wave_that_finds_no_place_is_not_certain_and_takes_nobody_s() -> None:
    owners = Owners()
    for wave in range(module.SLOTS):
        owners.learn("shop", wave, "service", 1)
    owners.learn("games", 0, "service", 9)
    assert owners.newest("games", 0, 0) is None
    assert {owners.newest("shop", wave, 1) for wave in range(module.SLOTS)} == {"service"}


def test_workers_that_learn_at_once_keep_the_newest(tmp_path: Path) -> None:
    def learn(seed: int) -> None:
        mine, epochs = Owners(tmp_path / "owners"), list(range(1, 201))
        random.Random(seed).shuffle(epochs)
        for epoch in epochs:
            mine.learn("shop", epoch % 7, "service" if epoch % 2 else "legacy", epoch)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(learn, range(4)))
    owners = Owners(tmp_path / "owners")
    for wave in range(7):
        newest = max(epoch for epoch in range(1, 201) if epoch % 7 == wave)
        assert owners.newest("shop", wave, newest) == ("service" if newest % 2 else "legacy")
