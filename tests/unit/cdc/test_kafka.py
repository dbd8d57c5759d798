"""The pure parts of the Kafka transport: partitions, records, sessions, control records, settings."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import TopicPartition
from kafka.partitioner.default import murmur2 as its_murmur2

from cdc.change import FENCE, Boundary, Change, Message, Relation, Transaction
from cdc.config import Stream
from cdc.errors import ConfigError, EnvelopeError
from cdc.kafka import control
from cdc.kafka.bounded import within
from cdc.kafka.control import Control
from cdc.kafka.ear import Ear
from cdc.kafka.errors import BrokerAway
from cdc.kafka.marks import Mark, Place, continues, session_name
from cdc.kafka.partitioner import murmur2, partition
from cdc.kafka.records import Readers, Writer, header, read_header
from cdc.kafka.session import Session
from cdc.kafka.settings import Settings, options
from cdc.kafka.topics import Topics
from cdc.kafka.waiting import Waiting
from tests.unit.cdc.test_envelope import AT, CASES, ID, NOTE, TX, Column

ITEM = Relation(0, "public", "item", (ID, NOTE))


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    ],
)
def test_a_key_has_the_partition_that_kafkas_own_clients_give_it(key: bytes, hashed: int) -> None:
    """The hashes are those of Kafka's own test, org.apache.kafka.common.utils.UtilsTest."""
    assert partition(key, 7) == (hashed & 0x7FFFFFFF) % 7


@given(st.binary(max_size=100))
def test_a_key_is_hashed_as_kafka_python_does_it(key: bytes) -> None:
    assert murmur2(key) == its_murmur2(key) & 0xFFFFFFFF


def test_topics_are_named_as_debezium_names_them() -> None:
    topics = Topics("banyan.shop.forward", 3)
    assert topics.of("public.item") == "banyan.shop.forward.public.item"
    assert topics.table("banyan.shop.forward.public.item") == "public.item"
    assert topics.control == "banyan.shop.forward.banyan"


def through(change: Change, relation: Relation) -> Change:
    """As a record, and read again."""
    writer = Writer(relation, "shop", "legacy", ["id"])
    described = read_header([("other", b"x"), ("banyan", header("s1", 4, writer.columns))])
    assert described is not None
    session, number, columns = described
    assert (session, number) == ("s1", 4)
    return Readers().change(relation.name, columns, writer.value(change, 5))


@pytest.mark.parametrize(("typed", "value"), CASES)
def test_a_value_of_each_type_survives_a_record(typed: Column, value: Any) -> None:
    relation = Relation(0, "public", "t", (ID, typed))
    change = Change("c", TX, 5, relation, None, {"id": 1, typed.name: value})
    back = through(change, relation)
    assert back.after is not None
    assert (repr(back.after[typed.name]), back.relation) == (repr(value), relation)


@given(
    st.sampled_from(["c", "u", "r"]),
    st.integers(-(2**63), 2**63 - 1),
    st.one_of(st.none(), st.text(st.characters(codec="utf-8"))),
    st.booleans(),
    st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)),
)
def test_a_change_survives_a_record(op: Any, number: int, note: str | None, known: bool, at: datetime) -> None:
    if note == "__debezium_unavailable_value":
        return
    row = {"id": number, "note": note} if known or op != "u" else {"id": number}
    change = Change(op, Transaction(5, 7, at), 9, ITEM, None, row, snapshot=op == "r")
    assert through(change, ITEM) == change


def test_a_delete_brings_its_key_and_nothing_else() -> None:
    change = Change("d", TX, 5, ITEM, {"id": 1})
    assert through(change, ITEM) == change
    assert Writer(ITEM, "shop", "legacy", ["id"]).key({"id": 1}) == b'{"id":1}'


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"op":"c","before":null,"after":null,"source":{}}'])
def test_a_record_that_is_not_ours_is_refused(value: bytes) -> None:
    with pytest.raises(EnvelopeError):
        Readers().change("public.item", Writer(ITEM, "", "", ["id"]).columns, value)


def test_a_header_that_is_not_ours_is_refused() -> None:
    with pytest.raises(EnvelopeError):
        read_header([("banyan", b"nonsense")])
    assert read_header([]) is None


@pytest.mark.parametrize(
    ("session", "number", "counts"),
    [
        ("a", 5, True),  # the next of the session
        ("a", 4, False),  # a repetition
        ("a", 6, False),  # one is missing: what follows does not count
        ("b", 0, True),  # a newer session begins
        ("b", 3, False),  # the rest of one whose beginning did not count
        ("A", 0, False),  # an older one, whose first record comes late
    ],
)
def test_which_records_count(session: str, number: int, counts: bool) -> None:
    assert continues(Mark(10, "a", 4), session, number) is counts


def test_an_older_session_that_goes_on_after_a_newer_one_began_does_not_count() -> None:
    mark, counted = Mark(0), []
    for session, number in [("a", 0), ("a", 1), ("b", 0), ("a", 2), ("b", 1), ("a", 3)]:
        if continues(mark, session, number):
            mark = Mark(0, session, number)
            counted.append((session, number))
    assert counted == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


def test_a_session_has_a_greater_name_than_the_one_before_whatever_the_clock_says() -> None:
    first = session_name("", 1_700_000_000_000, "ffff")
    second = session_name(first, 1_600_000_000_000, "0000")
    assert continues(Mark(0, first, 9), second, 0)
    assert continues(Mark(0, "a3f0c2d1", 9), first, 0)
    assert not continues(Mark(0, second, 9), first, 0)


class Broker:
    """Takes control records, and acknowledges them at once."""

    is_done = True

    def __init__(self) -> None:
        self.controls: list[Control] = []

    def send(self, topic: str, value: bytes, partition: int) -> Broker:
        self.controls.append(control.decode(value))
        return self

    def get(self, timeout: float) -> None:
        """It is acknowledged."""


def test_a_position_counts_only_once_the_record_that_tells_it_is_acknowledged() -> None:
    broker, relay = Broker(), SimpleNamespace(topics=Topics("shop", 1), tables={}, rows=0)
    session = Session(relay, broker, "1", "legacy", 5, "", threading.Event())  # type: ignore[arg-type]
    broker.is_done = False
    assert not session.send([Boundary(10, AT)])
    assert (session.waiting, session.lsn) == (True, 5)
    assert not session.send([])
    broker.is_done = True
    assert session.send([])
    assert (session.waiting, session.lsn) == (False, 10)
    session.send([Boundary(20, AT)])
    assert session.finish()
    assert (session.lsn, [one.lsn for one in broker.controls]) == (20, [10, 20])


def test_a_call_that_never_comes_back_is_given_up_and_one_that_fails_says_why() -> None:
    never = threading.Event()
    with pytest.raises(BrokerAway, match=r"does not come back from poll within 0\.05 s"):
        within(0.05, "poll", never.wait)
    never.set()
    with pytest.raises(ZeroDivisionError):
        within(5, "poll", lambda: 1 // 0)
    assert within(5, "poll", lambda: [1]) == [1]


class Deaf:
    """A client that has a partition, of which it gives nothing."""

    def __init__(self, end: int) -> None:
        self.end = end
        self.gives: list[object] = []
        self.now, self.takes = 0.0, 0.0  # a poll takes so many seconds

    def assignment(self) -> set[TopicPartition]:
        return {TopicPartition("item", 0)}

    def poll(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        self.now += self.takes
        return {TopicPartition("item", 0): self.gives} if self.gives else {}

    def beginning_offsets(self, places: list[TopicPartition], timeout_ms: int) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, 0)

    def end_offsets(self, places: list[TopicPartition], timeout_ms: int) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, self.end)


def test_a_client_that_is_silent_is_given_up_only_where_there_is_something_to_hear() -> None:
    deaf, places = Deaf(5), {Place("item", 0): 5, Place("somebody else's", 0): 1}
    ear = Ear(deaf, False, lambda: deaf.now)  # type: ignore[arg-type]
    deaf.gives = [object()]
    ear.poll(0, 1)
    deaf.now += 15.0  # so long we took to apply it
    deaf.gives, deaf.end = [], 6
    ear.poll(0, 1)
    deaf.now += 15.0  # and to wait for a lock
    ear.require_heard(lambda: places)
    deaf.end, deaf.takes = 5, 11.0
    ear.poll(0, 1)
    ear.require_heard(lambda: places)  # a silence, but there is nothing to hear
    deaf.end, deaf.takes = 6, 9.0
    ear.poll(0, 1)
    ear.require_heard(lambda: places)  # not silent for long enough since it was looked at
    deaf.takes = 2.0
    ear.poll(0, 1)
    with pytest.raises(BrokerAway, match="item 0"):
        ear.require_heard(lambda: places)


def test_a_partition_of_ours_that_gives_nothing_of_what_is_waited_for_is_the_clients_fault() -> None:
    now, late = [100.0], [Place("item", 0)]
    ear = Ear(Deaf(9), True, lambda: now[0])  # type: ignore[arg-type]
    ear.moved()
    for _ in range(3):
        now[0] += 6.0
        assert ear.is_stuck()
        assert not ear.is_stuck()
        ear.require_given(late)
    now[0] += 6.0
    assert ear.is_stuck()
    ear.require_given([Place("somebody else's", 0)])
    with pytest.raises(BrokerAway, match="does not give records"):
        ear.require_given(late)


def test_a_fence_is_told_with_the_end_of_its_own_transaction_and_pulses_only_where_nothing_else_came() -> None:
    broker, relay = Broker(), SimpleNamespace(topics=Topics("shop", 1), tables={}, rows=0)
    session = Session(relay, broker, "1", "legacy", 5, "", threading.Event())  # type: ignore[arg-type]
    fence = Change("m", TX, 12, message=Message(FENCE, b"{}"))
    session.send([Boundary(10, AT), fence])
    session.send([Boundary(20, AT)])
    session.send([Boundary(30, AT, commit=False, pulse=True)])
    session.send([Boundary(40, AT), Boundary(50, AT, commit=False, pulse=True)])
    told = [(one.lsn, len(one.messages), one.pulse) for one in broker.controls]
    assert told == [(10, 0, False), (20, 1, False), (30, 0, True), (50, 0, False)]


def test_a_control_record_is_passed_when_every_partition_has_come_so_far() -> None:
    record = Control("s", 1, "7", 100, AT, True, {"t": [3, -1, 8]})
    assert control.decode(control.encode(record)) == record
    assert control.passed(record, {("t", 0): 3, ("t", 2): 9})
    assert not control.passed(record, {("t", 0): 3, ("t", 2): 7})
    assert not control.passed(record, {("t", 2): 9})
    with pytest.raises(EnvelopeError):
        control.decode(b"{}")


def test_settings_come_from_the_environment_and_a_missing_one_is_named() -> None:
    known = {"KAFKA_BOOTSTRAP_SERVERS": "a:1, b:2", "KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_PASSWORD": "x"}
    assert options(Settings("p"), known) == {
        "bootstrap_servers": ["a:1", "b:2"],
        "security_protocol": "SASL_SSL",
        "sasl_plain_password": "x",
    }
    with pytest.raises(ConfigError, match="OTHER is not set"):
        options(Settings("p", bootstrap_env="OTHER"), known)


def test_a_stream_through_kafka_must_say_where() -> None:
    fields: dict[str, Any] = {
        "name": "s", "domain": "d", "direction": "forward", "source_dsn_env": "A", "target_dsn_env": "B",
        "slot": "s", "publication": "p", "origin": "o", "snapshot": True, "mapping": "m.yaml",
    }  # fmt: skip
    with pytest.raises(ValueError, match="needs `kafka` settings"):
        Stream(**fields, transport="kafka")


def test_control_records_wait_in_order_for_what_they_name_and_for_nothing_else() -> None:
    waiting, item = Waiting(), Place("item", 0)
    first, pulse = Control("s", 0, "1", 10, AT, ends={"item": [5, -1]}), Control("s", 1, "1", 20, AT, pulse=True)
    records = [SimpleNamespace(value=control.encode(one), offset=7 + n) for n, one in enumerate((first, pulse))]
    waiting.take(Mark(7, "", -1), records)
    assert waiting.passed({item: Mark(4)}) == []
    assert (waiting.needed(), waiting.lacks({item: Mark(4)})) == ({item}, ({item: 4}, {item: 5}))
    assert [one.lsn for _, one in waiting.passed({item: Mark(5)})] == [10, 20]
    assert not waiting
    assert waiting.polled == 9
