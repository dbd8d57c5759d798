"""Who may use the admin API: tokens and their roles. A viewer reads, an operator changes too.

Tokens come from the environment (one of each) and from a file with one a line, `role name token`, which may change
while the gateway runs: a token that is taken out is refused from then on.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import structlog

from gateway.errors import SettingsRefused

Role = Literal["viewer", "operator"]
LEAST_TOKEN = 16  # characters
MOST_TOKENS = 1_000

log = structlog.get_logger("gateway.admin")


@dataclass(frozen=True, slots=True)
class Holder:
    """Of a token. `name` goes to the audit: unlike Banyan-Actor, nobody else can claim it."""

    name: str
    role: Role

    @property
    def may_change(self) -> bool:
        return self.role == "operator"


class Tokens:
    """Raises: SettingsRefused when the file is unusable at the start; later the last good one stays in force."""

    def __init__(self, operator: str, viewer: str = "", file: Path | None = None) -> None:
        self._fixed = {_digest(operator): Holder("operator", "operator")}
        if viewer:
            self._fixed[_digest(viewer)] = Holder("viewer", "viewer")
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._listed: Mapping[bytes, Holder] = {}
        if file is not None:
            self._seen = _mark(file)
            self._listed = read_tokens(file)

    def holder(self, token: str) -> Holder | None:
        """Found by digest: the time that takes tells nothing about tokens that are near."""
        self._look()
        digest = _digest(token)
        return self._fixed.get(digest) or self._listed.get(digest)

    def _look(self) -> None:
        if self._file is None:
            return
        try:
            seen = _mark(self._file)
            if seen == self._seen:
                return
            self._seen = seen
            self._listed = read_tokens(self._file)
        except SettingsRefused as error:
            log.error("the file of tokens is unusable, the last good one stays in force", reason=str(error))


def read_tokens(file: Path) -> dict[bytes, Holder]:
    """Raises: SettingsRefused with the line that is wrong; never with a token."""
    try:
        mode = file.stat().st_mode
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsRefused(
            f"cannot read the tokens in {file}: {getattr(error, 'strerror', None) or error}"
        ) from error
    if mode & (stat.S_IRGRP | stat.S_IROTH | stat.S_IWGRP | stat.S_IWOTH):
        raise SettingsRefused(f"{file} is open to others than its owner: chmod 600 {file}")
    found: dict[bytes, Holder] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 3 or words[0] not in get_args(Role):
            raise SettingsRefused(f"{file}:{number}: a line is `viewer name token` or `operator name token`")
        role, name, token = words
        if len(token) < LEAST_TOKEN:
            raise SettingsRefused(f"{file}:{number}: a token has at least {LEAST_TOKEN} characters")
        if _digest(token) in found:
            raise SettingsRefused(f"{file}:{number}: this token stands here a second time")
        found[_digest(token)] = Holder(name, "operator" if role == "operator" else "viewer")
    if len(found) > MOST_TOKENS:
        raise SettingsRefused(f"{file} has more than {MOST_TOKENS} tokens")
    return found


def _mark(file: Path) -> tuple[int, int, int]:
    try:
        found = file.stat()
    except OSError as error:
        raise SettingsRefused(f"cannot read the tokens in {file}: {error.strerror}") from error
    return found.st_ctime_ns, found.st_size, found.st_ino  # ctime: chmod is a change too, it may mend what was refused


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
