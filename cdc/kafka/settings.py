"""What a stream's file says about Kafka, and the client's options that come from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from cdc.errors import ConfigError

Transport = Literal["direct", "kafka"]

_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,100}")


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`prefix` is Debezium's topic.prefix, one for each stream; `partitions` are of every table's topic, fixed for the
    stream's life. Security comes from the environment (see `options`).
    """

    prefix: str
    bootstrap_env: str = "KAFKA_BOOTSTRAP_SERVERS"
    partitions: int = 4
    replicas: int = 1
    group: str = ""
    tombstones: bool = True
    capture: Literal["relay", "debezium"] = "relay"  # who writes the topics

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise ValueError(f"kafka prefix {self.prefix!r}: use 1 to 100 of a-z, A-Z, 0-9, '.', '_' and '-'")
        if not 1 <= self.partitions <= 256:
            raise ValueError(f"kafka partitions {self.partitions}: use 1 to 256")
        if not 1 <= self.replicas <= 9:
            raise ValueError(f"kafka replicas {self.replicas}: use 1 to 9")

    @property
    def group_id(self) -> str:
        return self.group or f"{self.prefix}.apply"


_OPTIONS = {
    "KAFKA_SECURITY_PROTOCOL": "security_protocol",
    "KAFKA_SASL_MECHANISM": "sasl_mechanism",
    "KAFKA_USERNAME": "sasl_plain_username",
    "KAFKA_PASSWORD": "sasl_plain_password",
    "KAFKA_CA": "ssl_cafile",
    "KAFKA_CERTIFICATE": "ssl_certfile",
    "KAFKA_CERTIFICATE_KEY": "ssl_keyfile",
}


def options(settings: Settings, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The client's keyword arguments: where the brokers are, and how to prove who we are. Raises: ConfigError."""
    known = os.environ if environment is None else environment
    servers = known.get(settings.bootstrap_env)
    if not servers:
        raise ConfigError(f"environment variable {settings.bootstrap_env} is not set: say where Kafka is, host:port,…")
    security = {name: known[variable] for variable, name in _OPTIONS.items() if known.get(variable)}
    return {"bootstrap_servers": [s.strip() for s in servers.split(",") if s.strip()], **security}
