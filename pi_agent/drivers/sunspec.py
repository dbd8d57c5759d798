"""A battery behind a SunSpec inverter: model 124 (storage) over Modbus TCP, by pysunspec2.

Rates are limits in percent of WChaMax. A negative limit of one way forces the other: InWRte -40 % and OutWRte 40 % is
discharge with 40 %. InOutWRte_RvrtTms is the inverter's own deadman, written before any rate.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sunspec2.modbus.client import SunSpecModbusClientDeviceTCP, SunSpecModbusClientException
from sunspec2.modbus.modbus import ModbusClientError

from pi_agent.config import Battery
from pi_agent.drivers.options import host, known, whole
from pi_agent.drivers.renewal import Renewal
from pi_agent.errors import DriverError
from pi_agent.limits import signed
from pi_agent.model import Mode, Reading, Setpoint

T = TypeVar("T")

STORAGE = 124
BOTH_LIMITS = 0b11  # StorCtl_Mod: CHARGE and DISCHARGE limits are in force
GRID = 1  # ChaGriSet: charging from the grid is allowed
TIMEOUT_S = 1.0
_FAILURES = (ModbusClientError, SunSpecModbusClientException, OSError)


@dataclass(frozen=True, slots=True)
class Options:
    host: str
    port: int = 502
    unit: int = 1
    revert_s: int = 60


def options(table: dict[str, Any]) -> Options:
    """Raises: ConfigError."""
    known(table, {"host", "port", "unit", "revert_s"}, "sunspec")
    return Options(
        host(table, "sunspec"),
        whole(table, "port", "sunspec", 1, 65535, 502),
        whole(table, "unit", "sunspec", 1, 247, 1),
        whole(table, "revert_s", "sunspec", 3, 3600, 60),
    )


class SunSpecBattery:
    def __init__(
        self, options: Options, battery: Battery, lapse_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Setpoints lapse after `revert_s`, or after `lapse_s` where that is longer: a renewal has to come before."""
        self._options = options
        self._battery = battery
        self._monotonic = monotonic
        self._revert_s = max(options.revert_s, round(lapse_s))
        self._renewal = Renewal(self._revert_s)
        self._device: Any = None
        self._ref, self._power_w = "", 0.0

    def read(self) -> Reading:
        def ask(storage: Any) -> Reading:
            storage.read()
            percent = storage.ChaState.cvalue
            if percent is None or not 0 <= percent <= 100:
                raise DriverError(f"the inverter gives no state of charge (ChaState {percent})")
            return Reading(percent / 100, self._power_w, self._ref)

        return self._with_storage(ask)

    def apply(self, setpoint: Setpoint) -> None:
        if setpoint.power_w > self._battery.max_power_w:
            raise DriverError(f"{setpoint.power_w} W is more than the battery's {self._battery.max_power_w} W")
        if self._renewal.due(setpoint, self._monotonic()):
            self._with_storage(lambda storage: self._write(storage, setpoint))
            self._renewal.written(setpoint, self._monotonic())
        self._ref, self._power_w = setpoint.ref, signed(setpoint)

    def safe(self) -> None:
        self._renewal.forget()
        self.apply(Setpoint(Mode.HOLD, 0, self._ref))

    def _write(self, storage: Any, setpoint: Setpoint) -> None:
        full = storage.WChaMax.cvalue
        if not full:
            raise DriverError("the inverter gives no WChaMax")
        percent = min(100.0 * setpoint.power_w / full, 100.0)
        into = {Mode.CHARGE: percent, Mode.DISCHARGE: -percent, Mode.HOLD: 0.0}[setpoint.mode]
        # In this order, each on its own: what a lost write leaves behind reverts by itself.
        for values in (
            {"InOutWRte_RvrtTms": self._revert_s},
            {"ChaGriSet": GRID},
            {"InWRte": into, "OutWRte": -into},
            {"StorCtl_Mod": BOTH_LIMITS},
        ):
            for name, value in values.items():
                point = getattr(storage, name)
                if point.pdef.get("sf"):
                    point.cvalue = value
                else:
                    point.value = value
            storage.write()

    def _with_storage(self, work: Callable[[Any], T]) -> T:
        """Raises: DriverError; the connection is made anew after it."""
        try:
            return work(self._connected())
        except DriverError:
            raise
        except _FAILURES as error:
            self._renewal.forget()
            self.close()
            raise DriverError(f"inverter {self._options.host}: {error or type(error).__name__}") from error

    def _connected(self) -> Any:
        if self._device is None:
            device = SunSpecModbusClientDeviceTCP(
                slave_id=self._options.unit, ipaddr=self._options.host, ipport=self._options.port, timeout=TIMEOUT_S
            )
            device.connect(TIMEOUT_S)
            device.scan(connect=False)
            if STORAGE not in device.models:
                device.disconnect()
                raise DriverError(f"inverter {self._options.host} has no SunSpec model {STORAGE} (storage)")
            self._device = device
            self._device.models[STORAGE][0].read()
        return self._device.models[STORAGE][0]

    def close(self) -> None:
        if self._device is not None:
            device, self._device = self._device, None
            try:
                device.disconnect()
            except OSError:
                pass
