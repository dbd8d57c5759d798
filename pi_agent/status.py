"""The status file: what the agent is doing, for people and health checks; replaced as a whole, never half written."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from pi_agent.errors import AgentError


def write(path: Path, values: dict[str, Any]) -> None:
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(values, indent=1) + "\n")
    temporary.replace(path)


def read(path: Path) -> dict[str, Any]:
    """Raises: AgentError when there is none."""
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise AgentError(f"no status at {path} ({error.strerror}): is the agent running?") from None
    except ValueError:
        raise AgentError(f"{path} is not a status file") from None
    if not isinstance(values, dict):
        raise AgentError(f"{path} is not a status file")
    return values


def age_s(path: Path) -> float:
    """Seconds since the file was written."""
    return time.time() - path.stat().st_mtime
