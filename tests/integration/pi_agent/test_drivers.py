"""Drivers on real sockets against simulated inverters, and what the inverters do when nobody renews."""

from __future__ import annotations

import signal
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from pymodbus.client import ModbusTcpClient

from pi_agent.config import Battery
from pi_agent.drivers.modbus import ModbusBattery, Register, register_map
from pi_agent.drivers.sunspec import SunSpecBattery
from pi_agent.drivers.sunspec import options as sunspec_options
from pi_agent.errors import ConfigError, DriverError
from pi_agent.model import Mode, Setpoint
from tests.integration.pi_agent.inverter import POINTS, STORAGE, Inverter, sunspec_registers
from tests.integration.pi_agent.process import Make, until
from tests.integration.pi_agent.server import FakeServer

BATTERY = Battery(max_power_w=5000)
CHARGE, DISCHARGE = Setpoint(Mode.CHARGE, 2000, "c"), Setpoint(Mode.DISCHARGE, 1000, "d")
#: soc in tenths of a percent, power, temperature; setpoint (two words), revert seconds, enable.
PLAIN = {100: [615, 0xFF38, 21], 200: [0, 0, 0, 0]}
MAP: dict[str, Any] = {
    "host": "127.0.0.1",
    "soc": {"address": 100, "scale": 0.1},
    "power": {"address": 101},
    "celsius": {"address": 102},
    "setpoint": {"address": 200, "type": "int32"},
    "revert": {"address": 202, "seconds": 30},
    "enable": {"address": 203, "value": 7},
}


class Watch:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def plain() -> Iterator[Inverter]:
    inverter = Inverter(PLAIN, revert=202, reset={200: 0, 201: 0, 203: 0}).start()
    yield inverter
    inverter.stop()


@pytest.fixture
def sunspec() -> Iterator[Inverter]:
    at = {name: STORAGE + i for i, name in enumerate(POINTS)}
    reset = {at["StorCtl_Mod"]: 0, at["InWRte"]: 0, at["OutWRte"]: 0}
    inverter = Inverter(sunspec_registers(), revert=at["InOutWRte_RvrtTms"], reset=reset).start()
    yield inverter
    inverter.stop()


def registers(inverter: Inverter, address: int, count: int) -> list[int]:
    """What another client of the inverter reads."""
    client = ModbusTcpClient("127.0.0.1", port=inverter.port)
    try:
        answer = client.read_holding_registers(address, count=count)
        assert not answer.isError(), answer
        return list(answer.registers)
    finally:
        client.close()


def storage(inverter: Inverter) -> dict[str, int]:
    words = dict(zip(POINTS, registers(inverter, STORAGE, len(POINTS)), strict=True))
    return words | {n: struct.unpack(">h", words[n].to_bytes(2, "big"))[0] for n in ("InWRte", "OutWRte")}


def test_registers_of_its_own_are_read_and_written_the_timer_first(plain: Inverter) -> None:
    battery = ModbusBattery(register_map(MAP | {"port": plain.port}), BATTERY, 3)
    reading = battery.read()
    assert (round(reading.soc, 3), reading.power_w, reading.celsius, reading.ref) == (0.615, -200, 21, "")
    battery.apply(DISCHARGE)
    assert plain.writes == [(202, [30]), (200, [0xFFFF, 0xFC18]), (203, [7])]
    assert battery.read().ref == "d"
    battery.safe()
    assert registers(plain, 200, 4) == [0, 0, 30, 7]
    battery.close()


def test_a_setpoint_is_written_when_it_changes_and_in_time_before_it_lapses(plain: Inverter) -> None:
    watch = Watch()
    battery = ModbusBattery(register_map(MAP | {"port": plain.port}), BATTERY, 3, watch)
    for _ in range(9):
        battery.apply(CHARGE)
        watch.now += 1
    assert len(plain.writes) == 3
    watch.now += 1
    battery.apply(CHARGE)
    assert len(plain.writes) == 6
    battery.apply(DISCHARGE)
    assert len(plain.writes) == 9
    battery.close()


def test_an_inverter_that_refuses_or_is_gone_is_told_and_taken_up_again(plain: Inverter) -> None:
    battery = ModbusBattery(register_map(MAP | {"port": plain.port}), BATTERY, 3)
    plain.refuse = True
    with pytest.raises(DriverError, match="refuses"):
        battery.apply(CHARGE)
    plain.refuse = False
    battery.apply(CHARGE)
    plain.stop()
    with pytest.raises(DriverError):
        battery.read()
    plain.start()
    assert battery.read().soc == pytest.approx(0.615)
    battery.apply(CHARGE)
    assert plain.writes[-2] == (200, [0, 2000]), "after a break the setpoint is written again"
    battery.close()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"revert": None}, "modbus.revert is missing"),
        ({"soc": {"scale": 1}}, "modbus.soc.address is missing"),
        ({"soc": {"address": 70000}}, "modbus.soc.address must be a whole number from 0 to 65535"),
        ({"soc": {"address": 1, "type": "float"}}, "modbus.soc.type must be one of"),
        ({"power": {"address": 1, "scale": 0}}, "modbus.power.scale"),
        ({"hots": "x"}, "unknown key modbus.hots"),
        ({"host": ""}, "modbus.host must be"),
    ],
)
def test_a_map_that_is_wrong_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    table = {k: v for k, v in (MAP | change).items() if v is not None}
    with pytest.raises(ConfigError, match=named):
        register_map(table)


def test_a_register_holds_what_it_is_given_or_says_so() -> None:
    assert Register(1, "int32").decode(Register(1, "int32").encode(-123456)) == -123456
    assert Register(1, "int16", -10).encode(500) == [0xFFCE]
    with pytest.raises(DriverError, match="cannot hold"):
        Register(1, "uint16").encode(-1)


def test_a_sunspec_storage_is_charged_discharged_and_held_with_its_own_timer_set(sunspec: Inverter) -> None:
    battery = SunSpecBattery(sunspec_options({"host": "127.0.0.1", "port": sunspec.port}), BATTERY, 3)
    assert battery.read().soc == pytest.approx(0.55)
    battery.apply(CHARGE)
    seen = storage(sunspec)
    assert (seen["StorCtl_Mod"], seen["InWRte"], seen["OutWRte"]) == (3, 4000, -4000)
    assert (seen["InOutWRte_RvrtTms"], seen["ChaGriSet"]) == (60, 1)
    written = [address for address, _ in sunspec.writes]
    at = STORAGE + POINTS.index("InOutWRte_RvrtTms")
    assert written.index(at) < min(i for i, a in enumerate(written) if a != at), "the timer before anything else"
    battery.apply(DISCHARGE)
    seen = storage(sunspec)
    assert (seen["InWRte"], seen["OutWRte"]) == (-2000, 2000)
    battery.safe()
    seen = storage(sunspec)
    assert (seen["StorCtl_Mod"], seen["InWRte"], seen["OutWRte"]) == (3, 0, 0)
    assert battery.read().ref == "d"
    battery.close()


def test_a_sunspec_inverter_without_storage_or_without_an_answer_is_told() -> None:
    without = Inverter({40000: [0x5375, 0x6E53, 1, 66, *[0] * 66, 0xFFFF, 0]}, revert=40002, reset={}).start()
    try:
        battery = SunSpecBattery(sunspec_options({"host": "127.0.0.1", "port": without.port}), BATTERY, 3)
        with pytest.raises(DriverError, match="no SunSpec model 124"):
            battery.read()
    finally:
        without.stop()
    with pytest.raises(DriverError, match=r"inverter 127\.0\.0\.1"):
        battery.read()


@pytest.mark.parametrize("driver", ["sunspec", "modbus"])
def test_a_killed_agent_leaves_nothing_in_force(driver: str, agents: Make, plain: Inverter, sunspec: Inverter) -> None:
    """The whole program on an inverter: it charges, it is killed, and the inverter gives the setpoint up by itself."""
    server = FakeServer(slots=[("0000", "2400", "C", 1000)]).start()
    agent = agents(server.url)
    if driver == "modbus":
        inverter = plain
        table = f"""
            host = "127.0.0.1"
            port = {plain.port}
            soc = {{address = 100, scale = 0.1}}
            setpoint = {{address = 200, type = "int32"}}
            revert = {{address = 202, seconds = 3}}"""
        power = lambda: registers(plain, 200, 2)[1]  # noqa: E731
    else:
        inverter = sunspec
        table = f'host = "127.0.0.1"\nport = {sunspec.port}\nrevert_s = 3'
        power = lambda: storage(sunspec)["InWRte"] // 2  # noqa: E731  percent of 5 kW to watts
    text = agent.config.read_text().replace('trace = "trace.jsonl"', f'driver = "{driver}"')
    agent.config.write_text(f"{text}\n[{driver}]\n{table}\n")
    agent.start()
    try:
        until(lambda: power() == 1000, "charging")
        writes = len(inverter.writes)
        until(lambda: len(inverter.writes) > writes, "renewed")
        agent.end(signal.SIGKILL)
        until(lambda: power() == 0, "given up by the inverter", seconds=10)
        agent.start()
        until(lambda: power() == 1000, "charging again")
        assert agent.end() == 0
        assert power() == 0
    finally:
        server.stop()
