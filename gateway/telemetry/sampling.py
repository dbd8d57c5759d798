"""Which requests are traced: told by the bytes of a trace id and its caller's flag alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import SettingsRefused

SAMPLERS = (
    "always_on", "always_off", "traceidratio",
    "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio",
)  # fmt: skip
DEFAULT = "parentbased_traceidratio"
SHARE = 0.01  # where OTEL_TRACES_SAMPLER_ARG is not set
SAMPLED = 1  # the flag


@dataclass(frozen=True, slots=True)
class Sampler:
    """`bound`: traces whose id has a lower half below it are sampled. Ids are lower-case hexadecimal digits, so that
    their order is that of their bytes; any SDK with the same ratio samples the same ones.
    """

    parent_based: bool
    bound: bytes

    def samples(self, trace_id: bytes, flags: int | None) -> bool:
        """`flags`: of whoever called; None: the trace begins here."""
        if flags is not None and self.parent_based:
            return bool(flags & SAMPLED)
        return trace_id[16:] < self.bound


def sampler(name: str | None, argument: str | None) -> Sampler:
    """Of OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG. Raises: SettingsRefused."""
    name = name or DEFAULT
    if name not in SAMPLERS:
        raise SettingsRefused(f"OTEL_TRACES_SAMPLER must be one of {', '.join(SAMPLERS)}, not {name!r}")
    kind = name.removeprefix("parentbased_")
    share = {"always_on": 1.0, "always_off": 0.0}.get(kind)
    if share is None:
        share = _share(argument)
    return Sampler(kind != name, bound(share))


def bound(share: float) -> bytes:
    below = round(share * 2**64)
    if below >= 2**64:
        return b"g"  # beyond every digit
    return b"%016x" % below


def _share(argument: str | None) -> float:
    try:
        share = float(argument) if argument else SHARE
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise SettingsRefused(f"OTEL_TRACES_SAMPLER_ARG must be a share within 0..1, not {argument!r}")
    return share
