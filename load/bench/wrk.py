"""Runs wrk (github.com/wg/wrk) and reads its figures."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

from banyan.errors import ServerFailed, ServerMissing

HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
    "Accept": "application/json",
    "Accept-Language": "en-GB,en;q=0.9",
    "Accept-Encoding": "gzip, deflate",
    "Cookie": "session=abcdefghijklmnopqrstuvwxyz0123456789; theme=dark",
    "Referer": "https://example.org/prices",
    "Cache-Control": "no-cache",
    "DNT": "1",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "same-origin",
}  # with Host, and X-Client-Id that changes with every request: twelve

_REQUESTS = """
local headers = {%s}
local n, requests = 0, {}
function init(args)
  for i = 1, 64 do
    headers["X-Client-Id"] = "client-" .. i
    requests[i] = wrk.format("GET", nil, headers)
  end
end
function request() n = n + 1; return requests[n %% 64 + 1] end
"""
_DONE = """
function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '\\n{"requests":%d,"seconds":%.6f,"p50_ms":%.4f,"p99_ms":%.4f,"errors":%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


class Measured(msgspec.Struct, frozen=True):
    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


def binary() -> str:
    found = shutil.which("wrk")
    if found is None:
        raise ServerMissing("wrk is missing: install it with `apt-get install wrk` (or your system's way)")
    return found


def write_script(folder: Path, requests: str | None = None) -> Path:
    """`requests`: Lua that makes them; without it, reads with twelve headers."""
    path = folder / "requests.lua"
    pairs = ", ".join(f'["{name}"] = "{value}"' for name, value in HEADERS.items())
    path.write_text((requests or _REQUESTS % pairs) + _DONE)
    return path


def run(url: str, script: Path, seconds: float, *, connections: int, pin: Sequence[str]) -> Measured:
    """Raises: ServerFailed when wrk ends badly."""
    duration = f"{max(1, round(seconds))}s"
    command = [*pin, binary(), "-t1", f"-c{connections}", f"-d{duration}", "--latency", "-s", str(script), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds * 3 + 30, check=False)
    if done.returncode:
        raise ServerFailed(f"wrk ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return msgspec.json.decode(done.stdout.strip().splitlines()[-1], type=Measured)
