"""PostgreSQL refuses to run as root: as root its processes run as `nobody`.

`nobody` cannot enter a checkout below /root, so its processes keep CAP_DAC_OVERRIDE: they may pass closed folders, and
do nothing else that root may. A change of user clears the parent-death signal, so setpriv sets it anew: a fast shutdown
(SIGINT) when whoever started the server is gone.
"""

from __future__ import annotations

import os
import pwd
import shutil
from pathlib import Path

from banyan.errors import ServerMissing


def unprivileged(command: list[str]) -> list[str]:
    """`command` as it has to be started by the user we are."""
    if os.geteuid() != 0:
        return command
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ServerMissing(
            "PostgreSQL does not run as root and setpriv is missing: install util-linux, or run as a user"
        )
    nobody = pwd.getpwnam("nobody")
    drop = [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    return [setpriv, *drop, "--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--pdeathsig=INT", *command]


def hand_over(path: Path) -> None:
    """Give `path` to the user that `unprivileged` commands run as."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
