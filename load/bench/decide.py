"""`banyan bench decide`: a minute's policy tables and the decisions of a whole fleet, as the market's job makes them.

In memory: what a minute costs in the database besides is in `services.devices.market.pipeline`'s own metrics.
"""

from __future__ import annotations

import statistics
import time

import numpy as np

from load.bench.report import Report, show
from services.devices.market import policy
from services.devices.market.decide import Fleet, Rules, decide

# By the time on a core: on a machine that others use, a tick waits for its turn as long as they like.
BAR = {"cpu_p99_ms": "< 50 for 10,000 batteries", "tick_p50_ms": "< 50 for 10,000 batteries"}
TICKS = 120


def run(batteries: int) -> Report:
    """Prices wander as in a restless hour; each tick begins from what the last one decided."""
    dice = np.random.default_rng(1)
    capacity = dice.choice([5_000, 10_000, 13_500], batteries)
    power = dice.choice([2_500, 3_700, 5_000], batteries)
    soc = dice.uniform(0, 1, batteries)
    soc[dice.random(batteries) < 0.02] = np.nan
    mode, mode_s = np.zeros(batteries, dtype=np.int8), np.full(batteries, np.inf)
    usual = (80 + 40 * np.sin(np.arange(policy.QUARTERS) / policy.QUARTERS * 2 * np.pi)).tolist()
    price, table_ms, decide_ms, cpu_ms, acting, changed = 80.0, [], [], [], [], 0
    for _ in range(TICKS):
        price = 80 + 0.8 * (price - 80) + float(dice.normal(0, 120))
        began, core = time.perf_counter(), time.thread_time()
        table = policy.policy(policy.expected(price, usual))
        made = time.perf_counter()
        kind = policy.classes(capacity, power)
        decided = decide(price, table, Fleet(kind, soc, np.zeros(batteries), mode, mode_s), Rules())
        ended = time.perf_counter()
        cpu_ms.append((time.thread_time() - core) * 1000)
        table_ms.append((made - began) * 1000)
        decide_ms.append((ended - made) * 1000)
        acting.append(int((decided != 0).sum()))
        changed += int((decided != mode).sum())
        mode_s = np.where(decided == mode, mode_s + 60, 0.0)
        mode = decided
        soc = np.clip(soc + decided * power / 60 / capacity, 0, 1)
    ticks = np.add(table_ms, decide_ms)
    p50, p99, cpu_p99 = (round(float(np.quantile(*each)), 2) for each in ((ticks, 0.5), (ticks, 0.99), (cpu_ms, 0.99)))
    figures = {
        "batteries": batteries,
        "tick_p50_ms": p50,
        "tick_p99_ms": p99,
        "cpu_p99_ms": cpu_p99,
        "tables_p50_ms": round(statistics.median(table_ms), 2),
        "decide_p50_ms": round(statistics.median(decide_ms), 2),
        "acting_p50": statistics.median(acting),
        "changes_a_tick": round(changed / TICKS),
    }
    return Report(
        "decide", figures, {}, BAR, p50 < 50 and cpu_p99 < 50, notes=[f"{TICKS} ticks of made-up prices (seed 1)"]
    )


def show_report(report: Report) -> None:
    figures = report.figures
    rows = [
        ["a tick, p50", f"{figures['tick_p50_ms']} ms"],
        ["a tick, p99", f"{figures['tick_p99_ms']} ms"],
        ["a tick on its core, p99", f"{figures['cpu_p99_ms']} ms"],
        ["of it the policy tables, p50", f"{figures['tables_p50_ms']} ms"],
        ["of it the decisions, p50", f"{figures['decide_p50_ms']} ms"],
        ["batteries that charge or discharge, p50", f"{figures['acting_p50']:,.0f}"],
        ["that change what they do, mean", f"{figures['changes_a_tick']:,}"],
    ]
    show(f"decide: {figures['batteries']:,} batteries, one minute", ["", ""], rows, report)
