"""What goes wrong between the slot and the target: nothing is lost, doubled, taken back or brought back to life."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from banyan.servers.kafka import Kafka
from banyan.servers.ports import free_port
from cdc.__main__ import main
from cdc.apply.route import routes
from cdc.config import Stream
from cdc.errors import ConfigError
from cdc.kafka import client
from cdc.kafka import relay as relaying
from cdc.kafka import run as running
from cdc.kafka.errors import BrokerAway
from cdc.kafka.settings import Settings
from cdc.runner import Runner
from cdc.snapshot import ask
from cdc.status import Status
from tests.integration.cdc.toy import Shop, assert_equal, execute, one, rows, until

pytestmark = pytest.mark.long  # a JVM that is killed and starts again

# From here on each row that the target writes is noted: exactly once means that a key's prices only rise.
NOTED = """
CREATE TABLE log (n bigserial, id bigint, price numeric, op text);
CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN INSERT INTO log (id, price, op) VALUES (coalesce(NEW.id, OLD.id), NEW.price, TG_OP); RETURN NEW; END';
CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON product FOR EACH ROW EXECUTE FUNCTION noted();
ALTER TABLE product ENABLE ALWAYS TRIGGER noted;
"""
BACKWARDS = """
SELECT count(*) FROM (SELECT price, lag(price) OVER (PARTITION BY id ORDER BY n) AS before FROM log WHERE op <>
'DELETE') l WHERE price <= before
"""


class Writing:
    """A client that writes all the time: an update and an insert a round, now and then a delete."""

    def __init__(self, shop: Shop) -> None:
        self._shop, self._stop = shop, threading.Event()
        self.rounds = 0
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> Writing:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        with psycopg.connect(self._shop.legacy, autocommit=True) as connection:
            while not self._stop.wait(0.001):
                self.rounds = n = self.rounds + 1
                connection.execute("UPDATE item SET price_cents = price_cents + 1 WHERE id = %s", [n % 100 + 1])
                connection.execute("INSERT INTO item VALUES (%s, NULL, 'n', 1)", [1000 + n])
                if n % 5 == 0:
                    connection.execute("DELETE FROM item WHERE id = %s", [1000 + n - 3])

    def flows(self, more: int = 80) -> None:
        """So many further rows have reached the target."""
        count = "SELECT max(n) FROM log"
        before = one(self._shop.service, count) or 0

        def flowed() -> bool:
            for one_of_them in self._shop.running:
                if one_of_them.error is not None:
                    raise AssertionError("the stream ended") from one_of_them.error
            return (one(self._shop.service, count) or 0) > before + more

        until(flowed, "changes to flow", 40)


class Member:
    """A second consumer of the group, in a thread."""

    def __init__(self, shop: Shop, stream: Stream) -> None:
        self._leave = threading.Event()
        self._failure: list[BaseException] = []
        self._status = Status(stream.name)
        self._shop, self._stream = shop, stream
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        to = routes(self._shop.mapping, self._stream.direction)
        try:
            running.member(self._shop.service, self._stream, to, self._status, self._leave.is_set)
        except BaseException as e:
            self._failure.append(e)

    def at_work(self) -> bool:
        """It has applied rows, or moved the watermark."""
        assert self._failure == []
        return self._status.applied is not None or self._status.rows > 0

    def end(self) -> None:
        self._leave.set()
        self._thread.join(15)
        assert not self._thread.is_alive()
        assert self._failure == []


def hundred(shop: Shop) -> None:
    execute(shop.legacy, "INSERT INTO item SELECT n, 'c' || n, 'n', 1 FROM generate_series(1, 100) n")


def assert_exactly_once(shop: Shop) -> None:
    shop.caught_up()
    assert_equal(shop)
    assert one(shop.service, BACKWARDS) == 0
    doubled = "SELECT id, count(*) FROM log WHERE op = 'INSERT' GROUP BY id HAVING count(*) > 1"
    assert rows(shop.service, doubled) == []
    assert one(shop.service, "SELECT count(*) FROM banyan.parked") == 0


def test_a_replay_after_a_delete_brings_nothing_back(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The relay sends everything, dies before it puts that down, and sends it all again."""
    hundred(shop)
    shop.streaming()
    execute(shop.service, NOTED)
    real, failures = relaying.Session._tell, [2]

    def tell(self: Any, lsn: int, at: Any, truncates: Any = None) -> Any:
        if at is not None and self._relay.rows >= 200 and failures[0]:
            applied = "SELECT sum(rows) >= 200 FROM banyan.kafka_partition"
            until(lambda: one(shop.service, applied), "everything that was sent to be applied")
            failures[0] -= 1
            raise BrokerAway("as if the relay had died here")
        return real(self, lsn, at, truncates)

    monkeypatch.setattr(relaying.Session, "_tell", tell)
    execute(shop.legacy, "ALTER TABLE item ALTER note SET STORAGE EXTERNAL")
    execute(
        shop.legacy,
        "INSERT INTO item SELECT n, NULL, 'n', 1, repeat('x', 9000) FROM generate_series(201, 250) n",
    )
    execute(shop.legacy, "UPDATE item SET price_cents = 2 WHERE id > 200")
    execute(shop.legacy, "UPDATE item SET note = 'y', price_cents = 3 WHERE id > 200")
    execute(shop.legacy, "DELETE FROM item WHERE id > 200")
    until(lambda: failures[0] == 0, "two replays")
    assert_exactly_once(shop)
    assert one(shop.service, "SELECT count(*) FROM product WHERE id > 200") == 0


def test_two_consumers_share_a_group_and_a_rebalance_in_mid_stream_doubles_nothing(shop: Shop) -> None:
    hundred(shop)
    shop.streaming()
    execute(shop.service, NOTED)
    stream = shop.stream("forward")
    with Writing(shop) as writing:
        writing.flows()
        for _ in range(2):
            member = Member(shop, stream)
            until(member.at_work, "the second to take part")
            writing.flows()
            member.end()
            writing.flows()
    assert_exactly_once(shop)


@contextmanager
def process(shop: Shop, stream: Stream, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, "SOURCE_DSN": shop.source(stream), "TARGET_DSN": shop.target(stream)}
    found = subprocess.Popen([sys.executable, "-m", "cdc", "run", "--stream", str(path)], env=env)
    try:
        yield found
    finally:
        found.kill()
        found.wait()


def relay_of(parent: int) -> int:
    """The process id of the relay that `parent` has started."""

    def child() -> int:
        children = (file.read_text() for file in Path(f"/proc/{parent}/task").glob("*/children"))
        for line in " ".join(children).split():
            if b"relay" in Path(f"/proc/{line}/cmdline").read_bytes():
                return int(line)
        return 0

    return int(until(child, "the relay's process"))


def test_kill_9_of_the_consumer_and_of_the_relay_loses_nothing_and_doubles_nothing(shop: Shop) -> None:
    hundred(shop)
    stream = shop.prepare("forward")
    path = shop.file(stream)
    with ExitStack() as stack:
        found = stack.enter_context(process(shop, stream, path))
        until(lambda: one(shop.service, "SELECT state FROM banyan.stream") == "streaming", "the snapshot", 40)
        execute(shop.service, NOTED)
        with Writing(shop) as writing:
            writing.flows()
            os.kill(relay_of(found.pid), signal.SIGKILL)
            writing.flows()
            found.send_signal(signal.SIGKILL)
            found.wait()
            last = stack.enter_context(process(shop, stream, path))
            writing.flows()
        assert last.poll() is None
        assert_exactly_once(shop)


def test_a_broker_that_crashes_and_comes_back_is_waited_for(shop: Shop, kafka: Kafka) -> None:
    if not kafka.own or "memory" in kafka.what:
        pytest.skip(f"{kafka.what} is not ours to crash, or forgets")
    hundred(shop)
    shop.streaming()
    execute(shop.service, NOTED)
    with Writing(shop) as writing:
        writing.flows()
        kafka.kill()
        kafka.start()
        writing.flows()
    assert_exactly_once(shop)


def test_a_broker_that_freezes_and_dies_while_frames_are_under_way_is_waited_for(shop: Shop, kafka: Kafka) -> None:
    if not kafka.own or "memory" in kafka.what:
        pytest.skip(f"{kafka.what} is not ours to crash, or forgets")
    hundred(shop)
    shop.streaming()
    execute(shop.service, NOTED)
    with Writing(shop) as writing:
        writing.flows()
        assert kafka.process is not None
        kafka.process.send_signal(signal.SIGSTOP)
        before = writing.rounds
        until(lambda: writing.rounds > before + 200, "changes that the broker does not take", 20)
        kafka.kill()
        kafka.start()
        writing.flows()
    assert_exactly_once(shop)


def test_a_client_that_finds_no_broker_leaves_no_thread_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "BOOTSTRAP_MS", 200)
    monkeypatch.setenv("NOBODY", f"127.0.0.1:{free_port()}")
    settings = Settings("nobody", bootstrap_env="NOBODY")
    clients = client.admin(settings, "lost"), client.consumer(settings, "lost", 1)
    for one_of_them in clients:
        with pytest.raises(BrokerAway, match="does it run"), one_of_them:
            pass
    with pytest.raises(BrokerAway, match="does it run"):
        client.producer(settings, "lost")
    until(lambda: not [one for one in threading.enumerate() if "lost" in one.name], "its threads to end", 5)


def test_a_running_stream_moves_to_kafka_and_back_at_a_position(shop: Shop) -> None:
    settings = shop.transport["kafka"]
    shop.transport = {"transport": "direct", "kafka": settings}
    hundred(shop)
    stream = shop.streaming().runner.stream
    execute(shop.service, NOTED)
    path = str(shop.file(stream))
    env = {"SOURCE_DSN": shop.legacy, "TARGET_DSN": shop.service}
    with Writing(shop) as writing:
        writing.flows()
        for to in ("kafka", "direct", "kafka"):
            moved = CliRunner(env=env).invoke(main, ["move", "--stream", path, "--to", to])
            assert moved.exit_code == 0, moved.output
            assert f"comes through {to} from " in moved.output
            assert one(shop.service, "SELECT transport FROM banyan.stream") == to
            writing.flows()
    again = CliRunner(env=env).invoke(main, ["move", "--stream", path, "--to", "kafka"])
    assert "already" in again.output
    assert_exactly_once(shop)


def test_a_move_is_foreseen_and_refused_while_kafka_is_away_and_both_change_nothing(shop: Shop) -> None:
    shop.transport = {"transport": "direct", "kafka": shop.transport["kafka"]}
    stream = shop.streaming().runner.stream
    env = {"SOURCE_DSN": shop.legacy, "TARGET_DSN": shop.service}
    command = ["move", "--stream", str(shop.file(stream)), "--to", "kafka"]
    foreseen = CliRunner(env=env).invoke(main, [*command, "--dry-run"])
    assert foreseen.exit_code == 0, foreseen.output
    assert "and would go on through kafka; Kafka answers; of the stream's 4 topics" in foreseen.output
    refused = CliRunner(env={**env, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}).invoke(main, command)
    assert refused.exit_code == 1
    assert refused.output.startswith("Error: Kafka: ")
    assert refused.output.endswith("does it run, and is KAFKA_BOOTSTRAP_SERVERS right?\n")
    assert rows(shop.service, "SELECT transport, move_to FROM banyan.stream") == [("direct", None)]
    assert one(shop.service, "SELECT count(*) FROM banyan.kafka_partition") == 0


def test_a_stream_that_nobody_runs_is_moved_by_the_command_itself(shop: Shop) -> None:
    settings = shop.transport["kafka"]
    shop.transport = {"transport": "direct", "kafka": settings}
    hundred(shop)
    stream = shop.streaming().runner.stream
    shop.running[0].stop()
    execute(shop.legacy, "DELETE FROM item WHERE id <= 50")
    env = {"SOURCE_DSN": shop.legacy, "TARGET_DSN": shop.service}
    for to in ("kafka", "direct"):
        moved = CliRunner(env=env).invoke(main, ["move", "--stream", str(shop.file(stream)), "--to", to])
        assert moved.exit_code == 0, moved.output
    shop.start(stream)
    shop.caught_up()
    assert_equal(shop)


def test_a_lost_slot_is_made_good_beside_a_direct_stream_which_then_goes_on_through_kafka(shop: Shop) -> None:
    hundred(shop)
    first = shop.streaming()
    stream = first.runner.stream
    with pytest.raises(ConfigError, match="comes through Kafka"):
        ask.ask(stream, shop.mapping, (shop.legacy, shop.service), [])
    first.stop()
    shop.running.clear()
    free = "SELECT NOT active FROM pg_replication_slots WHERE slot_name = %s"
    until(lambda: one(shop.legacy, free, [stream.slot]), "its slot to be let go")
    execute(shop.legacy, "SELECT pg_drop_replication_slot(%s)", [stream.slot])
    execute(shop.legacy, "DELETE FROM item WHERE id % 3 = 0")  # nobody captures it
    with (runner := Runner(stream, shop.mapping, shop.legacy, shop.service)).alone() as target:
        runner.refill(target)
    execute(shop.service, NOTED)
    shop.start(stream)
    with Writing(shop) as writing:
        writing.flows()
        until(lambda: one(shop.service, "SELECT state FROM banyan.stream") == "streaming", "all to be read again")
        through = "SELECT transport FROM banyan.stream"
        until(lambda: one(shop.service, through) == "kafka", "the stream to move to Kafka again")
        writing.flows()
    shop.caught_up()
    assert_equal(shop)
    assert one(shop.service, "SELECT count(*) FROM banyan.parked") == 0
