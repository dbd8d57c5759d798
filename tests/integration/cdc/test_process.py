"""The stream as a process: kill -9, restart, refusal, health, command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import structlog
from click.testing import CliRunner, Result

from banyan.servers import Postgres, Redis
from banyan.servers.ports import free_port
from cdc.__main__ import main
from cdc.apply.session import end_sessions
from cdc.config import Stream
from cdc.errors import NotPrepared, SlotAhead, TargetRefused, WrongSource
from tests.fixtures import forked
from tests.fixtures.servers import create_database
from tests.integration.cdc.toy import LEGACY, Shop, assert_equal, execute, one, until

Start = Callable[..., subprocess.Popen[bytes]]


def environment(shop: Shop, stream: Stream, **more: str) -> dict[str, str]:
    return {**os.environ, "SOURCE_DSN": shop.source(stream), "TARGET_DSN": shop.target(stream), **more}


@contextmanager
def cdc(shop: Shop, stream: Stream, *command: str, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "cdc", *command],
        env=environment(shop, stream, **more),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run_once(shop: Shop, stream: Stream, *command: str) -> subprocess.CompletedProcess[str]:
    return forked.run("cdc", *command, env=environment(shop, stream))


def get(port: int, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as response:
            body, code = response.read(), response.status
    except urllib.error.HTTPError as e:
        body, code = e.read(), e.code
    except OSError:
        return 0, None
    return code, body.decode() if path == "/metrics" else json.loads(body)


def test_kill_9_in_mid_stream_loses_nothing_and_doubles_nothing(shop: Shop) -> None:
    execute(shop.legacy, "INSERT INTO item SELECT n, 'c' || n, 'n', 0 FROM generate_series(1, 100) n")
    stream = shop.prepare("forward")
    path = shop.file(stream)
    execute(shop.service, "CREATE TABLE log (n bigserial, id bigint, price numeric)")
    execute(
        shop.service,
        "CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN INSERT INTO log (id, price) VALUES (NEW.id, NEW.price); RETURN NEW; END'",
    )
    stop = threading.Event()
    written = [0]

    def write() -> None:
        with psycopg.connect(shop.legacy, autocommit=True) as connection:
            while not stop.is_set():
                written[0] += 1
                connection.execute(
                    "UPDATE item SET price_cents = price_cents + 1 WHERE id = %s", [written[0] % 100 + 1]
                )
                connection.execute("INSERT INTO item VALUES (%s, NULL, 'n', 1)", [1000 + written[0]])

    writer = threading.Thread(target=write)
    try:
        for round in range(4):
            with cdc(shop, stream, "run", "--stream", str(path)) as process:
                if round == 0:
                    until(lambda: one(shop.service, "SELECT state FROM banyan.stream") == "streaming", "the snapshot")
                    # from here on each applied update is noted: exactly once means that a key's prices only rise
                    trigger = "CREATE TRIGGER noted AFTER UPDATE ON product FOR EACH ROW EXECUTE FUNCTION noted()"
                    execute(shop.service, trigger + "; ALTER TABLE product ENABLE ALWAYS TRIGGER noted")
                    writer.start()
                before = one(shop.service, "SELECT rows FROM banyan.stream")
                until(lambda: one(shop.service, "SELECT rows FROM banyan.stream") > before + 200, "changes to flow")  # noqa: B023
                process.send_signal(signal.SIGKILL)
                process.wait()
    finally:
        stop.set()
        writer.join()
    shop.start(stream)
    shop.caught_up()
    assert_equal(shop)
    backwards = """
    SELECT count(*) FROM (SELECT price, lag(price) OVER (PARTITION BY id ORDER BY n) AS before FROM log) l
    WHERE price <= before
    """
    assert one(shop.service, backwards) == 0
    # each change is counted in its own transaction: none was applied twice, none not at all
    assert one(shop.service, "SELECT rows FROM banyan.stream") == 2 * written[0]


def test_sigterm_ends_the_process_with_0_and_the_next_one_goes_on(shop: Shop) -> None:
    stream = shop.prepare("forward")
    port = free_port()
    path = shop.file(stream, listen=f"127.0.0.1:{port}")
    with cdc(shop, stream, "run", "--stream", str(path)) as process:
        until(lambda: get(port, "/readyz")[0] == 200, "ready")
        process.terminate()
        assert process.wait(10) == 0
    execute(shop.legacy, "INSERT INTO item VALUES (1, 'a', 'n', 1)")
    shop.start(stream)
    shop.caught_up()
    assert_equal(shop)


def test_health_metrics_and_the_watermark_in_redis(shop: Shop, redis_server: Redis) -> None:
    stream = shop.prepare("forward")
    port = free_port()
    path = shop.file(stream, listen=f"127.0.0.1:{port}", redis_url_env="REDIS_URL")
    with (
        cdc(shop, stream, "run", "--stream", str(path), REDIS_URL=redis_server.url) as process,
        redis.Redis.from_url(redis_server.url, decode_responses=True) as client,
    ):
        until(lambda: get(port, "/readyz")[0] == 200, "ready")
        execute(shop.legacy, "INSERT INTO item VALUES (1, 'a', 'n', 1)")
        until(lambda: get(port, "/status")[1]["rows"] == 1, "the row in /status")
        status = get(port, "/status")[1]
        assert status["stream"] == "shop.forward"
        assert status["state"] == "streaming"
        assert status["lag_ms"] < 1000
        assert status["parked"] == 0
        assert 'banyan_cdc_rows_total{stream="shop.forward"} 1.0' in get(port, "/metrics")[1]
        metrics = get(port, "/metrics")[1]
        assert 'banyan_cdc_batch_rows_bucket{le="1",stream="shop.forward"} 1.0' in metrics
        assert 'banyan_cdc_transactions_total{stream="shop.forward"} 1.0' in metrics
        until(lambda: 'slot_state{state="reserved",stream="shop.forward"} 1.0' in get(port, "/metrics")[1], "the slot")
        for name in ("lag_bytes", "slot_retained_bytes", "slot_room_bytes", "halted", "alarms", "restarts_total"):
            assert f'banyan_cdc_{name}{{stream="shop.forward"}}' in get(port, "/metrics")[1]
        assert get(port, "/status")[1]["alarms"] == []
        assert get(port, "/watermark")[1].keys() == {"stream", "lsn", "commit_at", "applied_at", "lag_ms"}
        assert get(port, "/livez")[0] == 200
        assert get(port, "/nonsense")[0] == 404
        watermark = json.loads(until(lambda: client.hget("banyan:watermark", "shop.forward"), "the watermark in Redis"))
        assert set(watermark) == {"lsn", "commit_at", "applied_at", "lag_ms"}
        until(
            lambda: json.loads(client.hget("banyan:watermark", "shop.forward"))["lsn"] != watermark["lsn"],
            "the watermark to move",
        )
        answer = json.loads(cli(shop, stream, "status", "--stream", str(path)).stdout)
        assert answer["state"] == "streaming"
        assert process.poll() is None


def test_the_watermark_moves_more_than_ten_times_a_second_also_when_nothing_is_written(
    shop: Shop, redis_server: Redis
) -> None:
    stream = shop.prepare("forward")
    path = shop.file(stream, redis_url_env="REDIS_URL")
    with (
        cdc(shop, stream, "run", "--stream", str(path), REDIS_URL=redis_server.url),
        redis.Redis.from_url(redis_server.url, decode_responses=True) as client,
    ):
        seen: dict[str, datetime] = {}

        def sixty() -> bool:
            """Each with its own position; the times are the source's, of the transactions that it stands for."""
            if (text := client.hget("banyan:watermark", stream.name)) is not None:
                told = json.loads(text)
                seen[told["lsn"]] = datetime.fromisoformat(told["commit_at"])
            return len(seen) >= 60

        until(sixty, "sixty watermarks")
    times = sorted(seen.values())[20:]  # past the start
    gaps = sorted((after - before).total_seconds() for before, after in pairwise(times))
    assert gaps[len(gaps) // 2] <= 0.1


def test_redis_being_down_does_not_stop_the_stream(shop: Shop) -> None:
    stream = shop.prepare("forward")
    path = shop.file(stream, redis_url_env="REDIS_URL")
    with cdc(shop, stream, "run", "--stream", str(path), REDIS_URL=f"redis://127.0.0.1:{free_port()}/0"):
        until(lambda: one(shop.service, "SELECT state FROM banyan.stream") == "streaming", "streaming")
        execute(shop.legacy, "INSERT INTO item VALUES (1, 'a', 'n', 1)")
        shop.caught_up()
        assert_equal(shop)


def cli(shop: Shop, stream: Stream, *command: str) -> Result:
    """The command line without a process of its own; for everything that does not stream."""
    try:
        return CliRunner(env=environment(shop, stream)).invoke(main, command)
    finally:
        structlog.reset_defaults()  # the command logs to the runner's own stderr


def refusal(shop: Shop, stream: Stream, *command: str) -> str:
    done = cli(shop, stream, *command)
    assert done.exit_code == 1, done
    (line,) = done.stderr.splitlines()
    return line


def test_a_missing_slot_ends_the_process_with_one_clear_line(shop: Shop) -> None:
    stream = shop.prepare("reverse")
    execute(shop.service, "SELECT pg_drop_replication_slot(%s)", [stream.slot])
    done = run_once(shop, stream, "run", "--stream", str(shop.file(stream)))
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert "does not exist" in line


def test_a_slot_that_was_recreated_is_refused(shop: Shop) -> None:
    stream = shop.prepare("reverse")
    execute(shop.service, "SELECT pg_drop_replication_slot(%s)", [stream.slot])
    execute(shop.service, "INSERT INTO product VALUES (1, 'a', 'would be lost', 1, NULL, 'active')")
    execute(shop.service, "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [stream.slot])
    failure = shop.start(stream).failure()
    assert isinstance(failure, SlotAhead)
    assert "someone recreated or advanced it" in str(failure)


def test_a_slot_that_was_advanced_is_refused(shop: Shop) -> None:
    stream = shop.prepare("reverse")
    execute(shop.service, "INSERT INTO product VALUES (1, 'a', 'would be lost', 1, NULL, 'active')")
    execute(shop.service, "SELECT pg_replication_slot_advance(%s, pg_current_wal_lsn())", [stream.slot])
    assert isinstance(shop.start(stream).failure(), SlotAhead)


def test_another_cluster_as_source_is_refused(shop: Shop) -> None:
    shop.streaming("reverse").stop()
    swapped = Shop(legacy=shop.legacy, service=shop.legacy, folder=shop.folder, number=shop.number)
    failure = swapped.start(shop.stream("reverse")).failure()
    assert isinstance(failure, WrongSource)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"direction": "sideways"}, "Invalid enum value 'sideways'"),
        ({"slot": "Bad-Slot"}, "use 1 to 63 of a-z"),
        ({"listen": "127.0.0.1"}, "is not host:port"),
        ({"colour": "red"}, "unknown field `colour`"),
        ({"source_dsn_env": "NOT_SET"}, "environment variable NOT_SET is not set"),
        ({"mapping": "missing.yaml"}, "cannot be read"),
        ({"domain": "other"}, "is of domain shop"),
    ],
)
def test_a_bad_stream_file_gets_one_clear_line(shop: Shop, change: dict[str, str], message: str) -> None:
    stream = shop.stream("forward")
    assert message in refusal(shop, stream, "run", "--stream", str(shop.file(stream, **change)))


def test_an_unprepared_stream_says_so(shop: Shop) -> None:
    stream = shop.stream("forward")
    path = str(shop.file(stream))
    assert "run prepare" in refusal(shop, stream, "status", "--stream", path)
    failure = shop.start(stream).failure()
    assert isinstance(failure, (NotPrepared, TargetRefused))
    assert "run prepare" in str(failure)


def test_a_taken_port_is_named(shop: Shop) -> None:
    stream = shop.prepare("forward")
    port = one(shop.legacy, "SELECT inet_server_port()")
    assert f"cannot listen on 127.0.0.1:{port}" in refusal(
        shop, stream, "run", "--stream", str(shop.file(stream, listen=f"127.0.0.1:{port}"))
    )


def test_parked_commands(shop: Shop) -> None:
    stream = shop.prepare("forward")
    execute(shop.legacy, "INSERT INTO item VALUES (7, 'a', 'n', 2000000000)")
    shop.start(stream)
    until(lambda: one(shop.service, "SELECT state FROM banyan.stream") == "streaming", "streaming")
    path = str(shop.file(stream))
    listed = json.loads(cli(shop, stream, "parked", "list", "--stream", path).stdout)
    assert (listed["table"], listed["key"]) == ("public.item", "[7]")
    replayed = cli(shop, stream, "parked", "replay", "--stream", path)
    assert (replayed.exit_code, replayed.stdout) == (1, "0 keys free, 1 still parked\n")
    discarded = cli(shop, stream, "parked", "discard", "--stream", path, "--table", "public.item", "--key", "[7]")
    assert (discarded.exit_code, discarded.stdout) == (0, "1 changes discarded\n")


def test_the_snapshot_command_fills_again(shop: Shop) -> None:
    shop.streaming().stop()
    stream = shop.stream("forward")
    execute(shop.service, "INSERT INTO product VALUES (5, 'x', 'stranger', 1, NULL, 'active')")
    execute(shop.legacy, "INSERT INTO item VALUES (6, 'x', 'n', 1)")
    done = cli(shop, stream, "snapshot", "--stream", str(shop.file(stream)))
    assert done.stdout.startswith("1 rows in"), done.stderr
    assert_equal(shop)
    shop.start(stream)
    execute(shop.legacy, "INSERT INTO item VALUES (7, 'y', 'n', 1)")
    shop.caught_up()
    assert_equal(shop)


def test_a_fill_of_a_live_stream_is_refused_in_one_line_that_says_what_helps(shop: Shop) -> None:
    running = shop.streaming()
    stream = shop.stream("forward")
    line = refusal(shop, stream, "snapshot", "--stream", str(shop.file(stream)))
    assert line.startswith("Error: stream shop.forward is at work, and a fill must be alone: ")
    assert "--take-over" in line
    assert running.runner.status.restarts == 0


def test_a_fill_may_put_a_live_stream_aside_which_goes_on_behind_it(shop: Shop) -> None:
    running = shop.streaming()
    stream = shop.stream("forward")
    execute(shop.legacy, "INSERT INTO item VALUES (6, 'x', 'n', 1)")
    shop.caught_up()
    before = one(shop.service, "SELECT filled_lsn FROM banyan.stream")
    done = cli(shop, stream, "snapshot", "--take-over", "--stream", str(shop.file(stream)))
    assert done.stdout.startswith("1 rows in"), done.stderr
    assert one(shop.service, "SELECT filled_lsn FROM banyan.stream") != before
    until(lambda: running.runner.status.state == "streaming", "the stream to go on")
    execute(shop.legacy, "INSERT INTO item VALUES (7, 'y', 'n', 1)")
    shop.caught_up()
    assert_equal(shop)


def test_an_idle_stream_whose_target_session_is_ended_connects_anew(shop: Shop) -> None:
    running = shop.streaming()
    end_sessions(shop.service, "banyan-cdc shop.forward", "the target")
    until(lambda: running.runner.status.restarts or running.error, "the loss to be noticed")
    execute(shop.legacy, "INSERT INTO item VALUES (7, 'y', 'n', 1)")
    shop.caught_up()
    assert_equal(shop)


def test_a_source_server_that_restarts_stops_at_once_and_the_stream_goes_on(shop: Shop, tmp_path: Path) -> None:
    server = Postgres(data=tmp_path / "own", log=tmp_path / "own.log", settings={"fsync": "off"}).start()
    try:
        own = Shop(create_database(server), shop.service, shop.folder, shop.number)
        execute(own.legacy, LEGACY)
        own.streaming()
        execute(own.legacy, "INSERT INTO item VALUES (1, 'a', 'before', 1)")
        began = time.monotonic()
        server.stop()  # a walsender whose reader confirms too little would hold this up for wal_sender_timeout
        assert time.monotonic() - began < 10
        server.start()
        execute(own.legacy, "INSERT INTO item VALUES (2, 'b', 'after', 1)")
        own.caught_up()
        assert_equal(own)
        own.close()
    finally:
        server.stop()


def test_a_process_that_was_stopped_and_goes_on_is_not_asked_to_end() -> None:
    program = (
        "import signal; from cdc.interpreter import ENDING, asked_to_end\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)\n"
        "while not asked_to_end(0.02): print('here', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(5):
            assert process.stdout.readline() == b"here\n"
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.05)  # longer than the wait that is cut off: what is tested is that the time has passed
            process.send_signal(signal.SIGCONT)
        assert [process.stdout.readline() for _ in range(9)] == [b"here\n"] * 9
        process.terminate()
        assert process.wait(5) == 0


def test_variables_and_stream_files_are_found_where_the_local_stack_put_them(shop: Shop) -> None:
    stream = shop.prepare("forward")
    home = shop.folder / "home"
    (home / "streams").mkdir(parents=True)
    shop.file(stream).rename(home / "streams" / "shop.forward.json")
    (home / "env").write_text(f"SOURCE_DSN={shop.source(stream)}\nTARGET_DSN={shop.target(stream)}\n")

    def run(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "BANYAN_HOME": str(home), **more}
        return forked.run("cdc", *command, env=env)

    done = run("status", "--stream", "shop.forward")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["stream"] == stream.name
    assert run("parked", "list", "--stream", "shop.forward").returncode == 0
    unknown = run("parked", "list", "--stream", "shop.backward")
    assert unknown.returncode == 2
    assert "there are: shop.forward" in unknown.stderr
    own = run("status", "--stream", "shop.forward", TARGET_DSN="postgresql://nobody:secret@127.0.0.1:1/none")
    assert own.returncode == 1
    assert own.stderr.startswith("Error: cannot read the position of")
    assert own.stderr.count("\n") == 1
    assert "secret" not in own.stderr
