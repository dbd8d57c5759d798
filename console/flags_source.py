"""Who owns a device's wave, as the gateway's route table says: read through the admin API, cached shortly.

When the gateway does not answer, the last table that it gave stays good; before the first one nothing is known.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from gateway.control.client import AdminClient
from gateway.control.table import RouteTable
from gateway.errors import GatewayError
from gateway.routing.bucket import bucket

log = logging.getLogger(__name__)

#: So old may a flag be: short beside an agent's poll, long beside the admin API's answer.
FRESH_S = 1.0
#: One question at a time and not more often than this while the gateway does not answer.
RETRY_S = 2.0


class OwnershipSource(Protocol):
    """Where flags learn the owner of a device's wave."""

    def owner_of(self, device_id: str) -> str | None:
        """legacy, service or moving; None when it is not known. May block for a short time; safe from any thread."""


def owner_in(table: RouteTable, domain: str, key: str) -> str | None:
    """The owner of the wave that holds the key's bucket."""
    found = table.domains.get(domain)
    if found is None:
        return None
    number = bucket(key)
    return next((wave.owner for wave in found.waves if wave.bucket_from <= number < wave.bucket_to), None)


class RouteTableOwnership:
    """An OwnershipSource over `read_table`, which raises GatewayError when there is no answer."""

    def __init__(
        self,
        read_table: Callable[[], RouteTable],
        domain: str = "devices",
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read_table = read_table
        self._domain = domain
        self._monotonic = monotonic
        self._table: RouteTable | None = None
        self._due = monotonic()
        self._lock = threading.Lock()

    def owner_of(self, device_id: str) -> str | None:
        table = self._current()
        return None if table is None else owner_in(table, self._domain, device_id)

    def _current(self) -> RouteTable | None:
        """Whoever comes while another one asks the gateway gets the last known good table, and does not wait for it.

        Only before the first table do callers wait: an answer out of nothing would send devices back to legacy.
        """
        if self._monotonic() < self._due:
            return self._table
        if self._lock.acquire(blocking=self._table is None):
            try:
                if self._monotonic() >= self._due:
                    self._refresh()
            finally:
                self._lock.release()
        return self._table

    def _refresh(self) -> None:
        try:
            self._table = self._read_table()
            self._due = self._monotonic() + FRESH_S
        except (GatewayError, msgspec.DecodeError) as error:
            log.warning("flags keep the last known route table: %s", error)
            self._due = self._monotonic() + RETRY_S


def from_admin_api(url: str, token: str) -> RouteTableOwnership:
    """The source that the console uses: BANYAN_GATEWAY_ADMIN_URL, GATEWAY_ADMIN_TOKEN."""
    return RouteTableOwnership(AdminClient(url, token, timeout=2.0).table)
