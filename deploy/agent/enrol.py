"""Give one agent its identity: the first device of a token file, its configuration and token, in the agent's folder.

Usage: enrol.py TOKENS.json FOLDER, with AGENT_GATEWAY_URL, AGENT_FLAGS_URL and AGENT_POLL_S in the environment.
Keeps what is there.
"""

import json
import os
import sys
from pathlib import Path

CONFIG = """\
device_id = {device}
token_file = "token"
gateway_url = "{gateway}"
flags_url = "{flags}"
state_dir = "state"

[timing]
poll_s = {poll}
flags_s = {poll}
"""


def main() -> int:
    tokens_file, folder = Path(sys.argv[1]), Path(sys.argv[2])
    if (folder / "agent.toml").exists():
        print("the agent is enrolled already")
        return 0
    tokens: dict[str, str] = json.loads(tokens_file.read_text())
    if not tokens:
        print(f"{tokens_file} names no device: run the seed first", file=sys.stderr)
        return 1
    device, token = next(iter(tokens.items()))
    descriptor = os.open(folder / "token", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(token)
    env = os.environ
    addresses = {"gateway": env["AGENT_GATEWAY_URL"], "flags": env["AGENT_FLAGS_URL"]}
    (folder / "agent.toml").write_text(CONFIG.format(device=int(device), poll=float(env["AGENT_POLL_S"]), **addresses))
    print(f"device {device} has an agent")
    return 0


if __name__ == "__main__":
    sys.exit(main())
