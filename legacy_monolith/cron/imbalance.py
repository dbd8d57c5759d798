"""`imbalance`: writes the imbalance price of this minute. No public source is at hand, so unless told it is made up."""

from __future__ import annotations

import random
from datetime import datetime
from decimal import Decimal

import psycopg

from legacy_monolith import localtime
from legacy_monolith.cron.job import AREA

#: One minute in so many is a spike, to either side.
_SPIKE = 20


def made_up(minute: datetime, day_ahead: Decimal) -> Decimal:
    """Day-ahead price, noise and rare spikes; always the same for the same UTC minute."""
    dice = random.Random(minute.strftime("%Y%m%d%H%M"))  # noqa: S311
    noise = dice.gauss(0, 40)
    if dice.randrange(_SPIKE) == 0:
        noise += dice.choice((-300, 400))
    return (day_ahead + Decimal(noise)).quantize(Decimal("0.01"))


def write(url: str, now: datetime, price: Decimal | None = None) -> Decimal:
    """The price of the UTC minute `now`, written unless that minute has one; returns the one that is stored."""
    ts, flag = localtime.to_local(now.replace(second=0, microsecond=0))
    with psycopg.connect(url, application_name="legacy-imbalance") as connection:
        row = connection.execute(
            "SELECT eur_mwh FROM price WHERE area = %s ORDER BY ts DESC, hour_flag DESC LIMIT 1", (AREA,)
        ).fetchone()
        chosen = made_up(now, row[0] if row else Decimal(80)) if price is None else price
        connection.execute(
            "INSERT INTO imbalance_price (area, ts, hour_flag, eur_mwh, received) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT (area, ts, hour_flag) DO NOTHING",
            (AREA, ts, flag, chosen, localtime.now()),
        )
        stored = connection.execute(
            "SELECT eur_mwh FROM imbalance_price WHERE area = %s AND ts = %s AND hour_flag = %s", (AREA, ts, flag)
        ).fetchone()
    assert stored is not None
    return stored[0]
