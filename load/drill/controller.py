"""One verb in a process of its own, which stops at a point of its steps until it is told to go on.

`python -m load.drill.controller switch pricing --stop cross.before`: says `at cross.before`, and reads a line.
"""

from __future__ import annotations

import argparse
import os
import sys

from migration_plan import verbs
from migration_plan.context import Context
from migration_plan.errors import PlanError


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["advance", "switch", "rollback"])
    parser.add_argument("domain")
    parser.add_argument("--stop", default="")
    parser.add_argument("--to", default=None)
    parser.add_argument("--force", action="append", default=[])
    asked = parser.parse_args()

    def stop(step: str, when: str) -> None:
        if f"{step}.{when}" == asked.stop:
            print(f"at {asked.stop}", flush=True)
            sys.stdin.readline()

    # How long a pause is expected to be is the bench's business: a busy machine must not keep the verb from its point.
    force = [*asked.force, *(["pause"] if asked.verb != "advance" else [])]
    with Context.from_env(os.environ, "drill") as context:
        try:
            verb = getattr(verbs, asked.verb)
            result = verb(context, asked.domain, to=asked.to, reason="drill", forced=force, hook=stop)
        except PlanError as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            return error.exit_code if isinstance(getattr(error, "exit_code", None), int) else 1
    print(result.to_json().decode(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
