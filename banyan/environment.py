"""The variables that a command works with; the engine's own commands read them in the same way."""

from cdc.environment import load_environment, read_lines

__all__ = ["load_environment", "read_lines"]
