"""Inverters to test drivers with: pymodbus's simulator on a real socket, with a revert timer as the hardware has it."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass, field

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from banyan.servers.ports import free_port

SUNSPEC_BASE = 40000
#: Model 124 behind "SunS" and the common model of 66 registers: its first point after ID and L.
STORAGE = SUNSPEC_BASE + 2 + 2 + 66 + 2
POINTS = [
    "WChaMax",
    "WChaGra",
    "WDisChaGra",
    "StorCtl_Mod",
    "VAChaMax",
    "MinRsvPct",
    "ChaState",
    "StorAval",
    "InBatV",
    "ChaSt",
    "OutWRte",
    "InWRte",
    "InOutWRte_WinTms",
    "InOutWRte_RvrtTms",
    "InOutWRte_RmpTms",
    "ChaGriSet",
    "WChaMax_SF",
    "WChaDisChaGra_SF",
    "VAChaMax_SF",
    "MinRsvPct_SF",
    "ChaState_SF",
    "StorAval_SF",
    "InBatV_SF",
    "InOutWRte_SF",
]


def sunspec_registers(soc_percent: int = 55, full_w: int = 5000) -> dict[int, list[int]]:
    values = dict.fromkeys(POINTS, 0) | {"WChaMax": full_w, "ChaState": soc_percent, "ChaSt": 6}
    values |= {"InOutWRte_SF": 0x10000 - 2}  # hundredths of a percent
    common = [1, 66] + [0x4142] * 66
    return {SUNSPEC_BASE: [0x5375, 0x6E53, *common, 124, 24, *(values[p] for p in POINTS), 0xFFFF, 0]}


@dataclass
class Inverter:
    """`registers`: blocks by their first address. Writes are recorded; `timer` is (address of the revert time, reset).

    Once written to, and not again within that time, `reset` is done to the registers.
    """

    registers: dict[int, list[int]]
    revert: int
    reset: dict[int, int]
    refuse: bool = False
    port: int = field(default_factory=free_port)
    writes: list[tuple[int, list[int]]] = field(default_factory=list)

    def start(self) -> Inverter:
        self._written: float | None = None
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        blocks = [SimData(a, values=list(v), datatype=DataType.REGISTERS) for a, v in self.registers.items()]
        device = SimDevice(1, blocks, action=self._action)
        server = ModbusTcpServer(device, address=("127.0.0.1", self.port))
        await server.serve_forever(background=True)
        self._ready.set()
        await self._stop.wait()
        await server.shutdown()

    async def _action(
        self, function: int, start: int, address: int, count: int, current: list[int], values: list[int] | None
    ) -> ExcCodes | None:
        """`current` are all registers of the block, from `start`."""
        now = time.monotonic()
        seconds = current[self.revert - start]
        if self._written is not None and seconds and now - self._written >= seconds:
            self._written = None
            for register, value in self.reset.items():
                current[register - start] = value
        if values is not None:
            if self.refuse:
                return ExcCodes.ILLEGAL_VALUE
            self.writes.append((address, [int(v) for v in values]))
            self._written = now
        return None

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
