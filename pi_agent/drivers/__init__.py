"""Which driver the configuration names. Those that need a library are imported only when they are asked for."""

from __future__ import annotations

from pi_agent.clock import Clock
from pi_agent.config import Config
from pi_agent.driver import Driver
from pi_agent.errors import ConfigError

#: Setpoints lapse after so many control periods without renewal, in the battery itself.
LAPSE_PERIODS = 3


def make(config: Config, clock: Clock) -> Driver:
    """The configured driver, not yet connected. Raises: ConfigError."""
    lapse_s = LAPSE_PERIODS * config.timing.control_s
    try:
        if config.battery.driver == "sunspec":
            from pi_agent.drivers.sunspec import SunSpecBattery, options

            return SunSpecBattery(options(config.options), config.battery, lapse_s)
        if config.battery.driver == "modbus":
            from pi_agent.drivers.modbus import ModbusBattery, register_map

            return ModbusBattery(register_map(config.options), config.battery, lapse_s)
    except ModuleNotFoundError as error:
        extra = f"agent-{config.battery.driver}"
        raise ConfigError(f"{error.name} is not installed: pip install 'banyan-migrator[{extra}]'") from None
    from pi_agent.drivers.simulated import SimulatedBattery

    return SimulatedBattery(config.battery, config.state_dir / "battery.json", clock, lapse_s)
