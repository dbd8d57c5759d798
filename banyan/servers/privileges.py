"""PostgreSQL refuses to run as root: as root its processes run as `nobody`.

`nobody` cannot enter a checkout below /root, so they keep CAP_DAC_OVERRIDE: they may pass closed folders, but do
nothing else that root may. The secure bit lets access(2), which initdb asks, respect that. Where a container forbids
either, they go without, and the checkout has to lie where everybody may enter. A change of user clears the parent-death
signal, so setpriv sets it anew: a fast shutdown (SIGINT) when whoever started the server is gone.
"""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
from pathlib import Path

from banyan.errors import ServerMissing

_KEEP_OPEN = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
_GRADES = [[*_KEEP_OPEN, "--securebits=+no_setuid_fixup"], _KEEP_OPEN, []]


def unprivileged(command: list[str]) -> list[str]:
    """`command` as it has to be started by the user we are. Raises: ServerMissing without setpriv."""
    return command if os.geteuid() != 0 else [*_drop(), *command]


@functools.cache
def _drop() -> tuple[str, ...]:
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ServerMissing(
            "PostgreSQL does not run as root and setpriv is missing: install util-linux, or run as a user"
        )
    nobody = pwd.getpwnam("nobody")
    drop = (setpriv, f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--pdeathsig=INT")
    for grade in _GRADES:
        if subprocess.run([*drop, *grade, "true"], capture_output=True, check=False, timeout=10).returncode == 0:
            return (*drop, *grade)
    raise ServerMissing("setpriv cannot change the user here: run as a user instead of root")


def hand_over(path: Path) -> None:
    """Give `path` to the user that `unprivileged` commands run as."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
