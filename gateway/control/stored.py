"""The last known good table on disk: what the gateway starts from when nobody can be asked."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from gateway.control.table import RouteTable, decode_table, encode_table
from gateway.errors import SettingsRefused, TableRefused


def prepare(path: Path, table: RouteTable) -> Path:
    """A file of nobody's concern yet, for `announce`: a full disk says so before anything has changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.new")
    try:
        temporary.write_bytes(encode_table(table))
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def announce(path: Path, prepared: Path) -> None:
    """Beside the stored table, for a worker that starts while the new one is on its way to the disk. Not durable."""
    prepared.replace(_next(path))


def _next(path: Path) -> Path:
    return path.with_suffix(".next")


def save(path: Path, table: RouteTable) -> None:
    """Atomic and durable: a reader, or a machine that lost power, finds the old table or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(encode_table(table))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    _next(path).unlink(missing_ok=True)


def load(last_known_good: Path, first: Path | None) -> RouteTable:
    """The last known good table; without one, the first table. Raises: SettingsRefused."""
    try:
        return kept(last_known_good)
    except FileNotFoundError:
        pass
    except (OSError, TableRefused) as error:
        if first is None:
            raise SettingsRefused(
                f"{last_known_good} is unusable ({error}): remove it and set GATEWAY_TABLE"
            ) from error
    if first is None:
        raise SettingsRefused("there is no route table yet: set GATEWAY_TABLE to a file with the first one")
    return load_file(first)


def kept(last_known_good: Path) -> RouteTable:
    """The newest table on disk, whether it was made durable yet or not. Raises: OSError, TableRefused."""
    durable = decode_table(last_known_good.read_bytes())
    with contextlib.suppress(OSError, TableRefused):
        announced = decode_table(_next(last_known_good).read_bytes())
        return announced if announced.version > durable.version else durable
    return durable


def load_file(path: Path) -> RouteTable:
    """Raises: SettingsRefused with the file's name and what is wrong in it."""
    try:
        return decode_table(path.read_bytes())
    except OSError as error:
        raise SettingsRefused(f"cannot read the route table {path}: {error.strerror}") from error
    except TableRefused as error:
        raise SettingsRefused(f"{path}: {error}") from error
