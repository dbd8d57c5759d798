"""The data path as machine code: the same modules, compiled by mypyc (`python -m gateway compile`).

What was compiled lies beside the package, in a folder named by a digest of all of the package's sources and of the
Python that it is for: whoever changes a line, or Python, runs what the sources say until it is compiled again.
"""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
#: What a request runs through; the rest runs seldom.
DATA_PATH = ("http1", "routing", "policies", "accesslog.py", "clock.py", "core.py", "meter.py", "upstreams.py")
_HOME = PACKAGE.parent / ".compiled"
_SUFFIX = sysconfig.get_config_var("EXT_SUFFIX") or ""


def sources() -> list[Path]:
    """Of the whole package, by name."""
    return sorted(PACKAGE.rglob("*.py"))


def data_path() -> list[Path]:
    """The modules that are compiled."""
    return [
        path for path in sources() if path.name != "__init__.py" and path.relative_to(PACKAGE).parts[0] in DATA_PATH
    ]


def folder() -> Path:
    """Where the compiled package of these sources is, or would be."""
    digest = hashlib.sha256(_SUFFIX.encode())
    for path in sources():
        digest.update(str(path.relative_to(PACKAGE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return _HOME / digest.hexdigest()[:16]


def use() -> bool:
    """From here on, modules of the data path are imported as machine code, if there is any of these sources.

    `GATEWAY_COMPILED=0`: not. To be called before the first of them is imported.
    """
    if not _HOME.is_dir() or os.environ.get("GATEWAY_COMPILED") == "0":
        return False
    made = folder()
    if not made.is_dir():
        return False
    import gateway

    sys.path.append(str(made))  # for the one library that all of its modules share
    gateway.__path__.insert(0, str(made / PACKAGE.name))
    return True


def in_use() -> bool:
    return any(path.startswith(str(_HOME)) for path in sys.modules["gateway"].__path__)
