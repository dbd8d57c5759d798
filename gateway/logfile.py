"""Where the access log goes: a file that logrotate may move away, or standard output."""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from gateway.errors import SettingsRefused

log = structlog.get_logger("gateway.log")
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class LogFile:
    def __init__(self, path: Path | None) -> None:
        """None: standard output. Raises: SettingsRefused when the file cannot be opened."""
        self._path = path
        self._fd = 1
        if path is not None:
            try:
                self._fd = os.open(path, _FLAGS, 0o640)
            except OSError as error:
                raise SettingsRefused(f"GATEWAY_ACCESS_LOG: cannot write {path}: {error.strerror}") from error

    def write(self, data: bytes) -> None:
        """All of it. Raises: OSError."""
        while data:
            data = data[os.write(self._fd, data) :]

    def reopen(self) -> None:
        """After the file was moved away: go on in a new one of that name. A failure keeps the old one."""
        if self._path is None:
            return
        try:
            fresh = os.open(self._path, _FLAGS, 0o640)
        except OSError as error:
            log.error("cannot reopen the access log, going on in the old one", reason=error.strerror)
            return
        os.dup2(fresh, self._fd, inheritable=False)  # at once: the thread may be writing just now
        os.close(fresh)

    def close(self) -> None:
        if self._path is not None:
            os.close(self._fd)
