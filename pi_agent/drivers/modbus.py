"""A battery behind an inverter with registers of its own, over Modbus TCP, by pymodbus: the configuration has the map.

[modbus]
host = "192.0.2.7"
soc = {address = 100, scale = 0.1}                       # percent
power = {address = 101, type = "int16", scale = 1.0}     # watts, more than 0 charges; a negative scale turns it
setpoint = {address = 200, type = "int32"}               # watts into the battery
revert = {address = 202, seconds = 60}                   # the inverter's own deadman, written first
enable = {address = 203, value = 1}                      # optional: what makes it obey
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException

from pi_agent.config import Battery
from pi_agent.drivers.options import host, known, number, whole
from pi_agent.drivers.renewal import Renewal
from pi_agent.errors import ConfigError, DriverError
from pi_agent.limits import signed
from pi_agent.model import Mode, Reading, Setpoint

TIMEOUT_S = 1.0
_TYPES = {"uint16": (1, False), "int16": (1, True), "uint32": (2, False), "int32": (2, True)}


@dataclass(frozen=True, slots=True)
class Register:
    """Holding register(s), the high word first; value = raw * scale."""

    address: int
    type: str = "uint16"
    scale: float = 1.0

    @property
    def count(self) -> int:
        return _TYPES[self.type][0]

    def decode(self, words: list[int]) -> float:
        width, sign = _TYPES[self.type]
        raw = int.from_bytes(b"".join(w.to_bytes(2, "big") for w in words[:width]), "big", signed=sign)
        return raw * self.scale

    def encode(self, value: float) -> list[int]:
        """Raises: DriverError when the register cannot hold it."""
        width, sign = _TYPES[self.type]
        try:
            raw = round(value / self.scale).to_bytes(2 * width, "big", signed=sign)
        except OverflowError:
            raise DriverError(f"register {self.address} ({self.type}) cannot hold {value}") from None
        return [int.from_bytes(raw[i : i + 2], "big") for i in range(0, len(raw), 2)]


@dataclass(frozen=True, slots=True)
class RegisterMap:
    host: str
    port: int
    unit: int
    soc: Register
    setpoint: Register
    revert: Register
    revert_s: int
    power: Register | None = None
    celsius: Register | None = None
    enable: tuple[Register, int] | None = None


def register_map(table: dict[str, Any]) -> RegisterMap:
    """Raises: ConfigError. Without a revert timer of the inverter's own there is no way to be safe."""
    known(table, {"host", "port", "unit", "soc", "power", "celsius", "setpoint", "revert", "enable"}, "modbus")
    if "revert" not in table:
        raise ConfigError("modbus.revert is missing: the inverter itself must give a setpoint up when nobody renews it")
    enable = _register(table, "enable", {"value"}) if "enable" in table else None
    return RegisterMap(
        host=host(table, "modbus"),
        port=whole(table, "port", "modbus", 1, 65535, 502),
        unit=whole(table, "unit", "modbus", 0, 247, 1),
        soc=_register(table, "soc"),
        setpoint=_register(table, "setpoint", default="int16"),
        revert=_register(table, "revert", {"seconds"}),
        revert_s=whole(table["revert"], "seconds", "modbus.revert", 3, 3600, 60),
        power=_register(table, "power", default="int16") if "power" in table else None,
        celsius=_register(table, "celsius", default="int16") if "celsius" in table else None,
        enable=None if enable is None else (enable, whole(table["enable"], "value", "modbus.enable", 0, 65535, 1)),
    )


def _register(
    table: dict[str, Any], name: str, more: frozenset[str] | set[str] = frozenset(), default: str = "uint16"
) -> Register:
    prefix, given = f"modbus.{name}", table.get(name)
    if not isinstance(given, dict):
        raise ConfigError(f"{prefix} must be a table with an address")
    known(given, {"address", "type", "scale", *more}, prefix)
    kind = given.get("type", default)
    if kind not in _TYPES:
        raise ConfigError(f"{prefix}.type must be one of {', '.join(_TYPES)}")
    return Register(whole(given, "address", prefix, 0, 65535), kind, number(given, "scale", prefix, 1.0))


class ModbusBattery:
    def __init__(
        self, registers: RegisterMap, battery: Battery, lapse_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Setpoints lapse after the map's `seconds`, or after `lapse_s` where that is longer."""
        self._map = registers
        self._battery = battery
        self._monotonic = monotonic
        self._revert_s = max(registers.revert_s, round(lapse_s))
        self._renewal = Renewal(self._revert_s)
        self._client: Any = ModbusTcpClient(registers.host, port=registers.port, timeout=TIMEOUT_S, retries=0)
        self._ref, self._power_w = "", 0.0

    def read(self) -> Reading:
        percent = self._read(self._map.soc)
        if not 0 <= percent <= 100:
            raise DriverError(f"a state of charge of {percent} % makes no sense")
        power = self._power_w if self._map.power is None else self._read(self._map.power)
        celsius = None if self._map.celsius is None else self._read(self._map.celsius)
        return Reading(percent / 100, power, self._ref, celsius)

    def apply(self, setpoint: Setpoint) -> None:
        if setpoint.power_w > self._battery.max_power_w:
            raise DriverError(f"{setpoint.power_w} W is more than the battery's {self._battery.max_power_w} W")
        if self._renewal.due(setpoint, self._monotonic()):
            # In this order: what a lost write leaves behind reverts by itself.
            self._write(self._map.revert, self._revert_s)
            self._write(self._map.setpoint, signed(setpoint))
            if self._map.enable is not None:
                self._write(*self._map.enable)
            self._renewal.written(setpoint, self._monotonic())
        self._ref, self._power_w = setpoint.ref, signed(setpoint)

    def safe(self) -> None:
        self._renewal.forget()
        self.apply(Setpoint(Mode.HOLD, 0, self._ref))

    def close(self) -> None:
        self._client.close()

    def _read(self, register: Register) -> float:
        def ask() -> Any:
            return self._client.read_holding_registers(register.address, count=register.count, device_id=self._map.unit)

        return register.decode(self._ask(ask).registers)

    def _write(self, register: Register, value: float) -> None:
        words = register.encode(value)
        self._ask(lambda: self._client.write_registers(register.address, words, device_id=self._map.unit))

    def _ask(self, call: Callable[[], Any]) -> Any:
        """Raises: DriverError; the connection is made anew after it."""
        try:
            if not self._client.connected and not self._client.connect():
                raise DriverError(f"inverter {self._map.host}:{self._map.port} cannot be reached")
            answer = call()
        except (ModbusException, OSError) as error:
            self._renewal.forget()
            self._client.close()
            raise DriverError(f"inverter {self._map.host}: {error}") from error
        if answer.isError():
            self._renewal.forget()
            raise DriverError(f"inverter {self._map.host} refuses: {answer}")
        return answer
