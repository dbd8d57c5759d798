"""The headers of an answer that name places, or set cookies, made fit for the client. Pure.

Called only for answers that carry such a header: `http1.forward` looks for them all in one search.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from gateway.control.front import ShownCookie
from gateway.facade.places import Places, Public

# Alt-Svc would send clients around the gateway.
NAMES = rb"location|content-location|refresh|link|set-cookie|alt-svc"
_LINES = re.compile(rb"\r\n(" + NAMES + rb"):([^\r]*)", re.IGNORECASE)

Allows = Callable[[bytes], bool]


def shown(
    head: bytes, public: Public, places: Places, cookies: Mapping[bytes, ShownCookie], allows: Allows | None
) -> bytes:
    """`head`: lines, each begun by CRLF. `allows`: the cookies that this upstream may set; None: any."""

    def line(match: re.Match[bytes]) -> bytes:
        name, value = match[1].lower(), match[2].strip(b" \t")
        if name == b"alt-svc":
            return b""
        if name == b"set-cookie":
            cookie = value.partition(b"=")[0].strip(b" \t")
            if allows is not None and not allows(cookie):
                return b""
            changed = set_cookie(value, public, cookies.get(cookie))
        elif name in (b"location", b"content-location"):
            changed = places.ours(places.hidden(value, public), public)
        else:
            changed = places.hidden(value, public)
        return match[0] if changed == value else b"\r\n" + match[1] + b": " + changed

    return _LINES.sub(line, head)


def set_cookie(value: bytes, public: Public, rule: ShownCookie | None) -> bytes:
    """RFC 6265 §5.3: a browser refuses a cookie for a domain that its host is not in; without Domain it is ours."""
    rule = rule or ShownCookie()
    first, *attributes = value.split(b";")
    kept = []
    for attribute in attributes:
        name, _, given = attribute.strip(b" \t").partition(b"=")
        low = name.strip(b" \t").lower()
        if low == b"domain" and (rule.domain is not None or _foreign(given.strip(b" \t"), public.host)):
            continue
        if (low == b"path" and rule.path is not None) or (low == b"secure" and rule.secure):
            continue
        kept.append(attribute)
    if rule.domain is not None:
        kept.append(b" Domain=" + rule.domain.encode())
    if rule.path is not None:
        kept.append(b" Path=" + rule.path.encode())
    if rule.secure:
        kept.append(b" Secure")
    return b";".join((first, *kept))


def _foreign(domain: bytes, host: bytes) -> bool:
    wanted = domain.lower().lstrip(b".")
    return not host or not (host == wanted or host.endswith(b"." + wanted))
