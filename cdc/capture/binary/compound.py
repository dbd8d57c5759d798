"""Arrays, ranges and multiranges from binary, whatever they are made of.

Source: array_send and array_out, range_send and range_out, multirange_send of PostgreSQL.
"""

from __future__ import annotations

import re
from struct import Struct

from cdc.capture.binary.scalars import Convert

_INT32 = Struct("!i").unpack_from
_EMPTY, _LOWER_IN, _UPPER_IN, _NO_LOWER, _NO_UPPER = 1, 2, 4, 8, 16
_PLAIN = re.compile(rb'[^"\\{},;\s]+')
_PLAIN_BOUND = re.compile(rb'[^"\\()\[\],\s]+')


def array(element: Convert, delimiter: bytes = b",") -> Convert:
    def convert(data: bytes) -> bytes:
        (dimensions,) = _INT32(data)
        if dimensions == 0:
            return b"{}"
        sizes = [Struct("!ii").unpack_from(data, 12 + 8 * n) for n in range(dimensions)]
        at = 12 + 8 * dimensions
        texts: list[bytes] = []
        while at < len(data):
            (size,) = _INT32(data, at)
            at += 4
            if size < 0:
                texts.append(b"NULL")
            else:
                texts.append(_quoted(element(data[at : at + size])))
                at += size
        for size, _ in reversed(sizes):
            texts = [b"{" + delimiter.join(texts[n : n + size]) + b"}" for n in range(0, len(texts), size)]
        bounds = b"".join(b"[%d:%d]" % (lower, lower + size - 1) for size, lower in sizes)
        return texts[0] if all(lower == 1 for _, lower in sizes) else bounds + b"=" + texts[0]

    return convert


def span(bound: Convert) -> Convert:
    """A range."""

    def convert(data: bytes) -> bytes:
        flags, at = data[0], 1
        if flags & _EMPTY:
            return b"empty"
        ends: list[bytes] = []
        for missing in (_NO_LOWER, _NO_UPPER):
            if flags & missing:
                ends.append(b"")
                continue
            (size,) = _INT32(data, at)
            text = bound(data[at + 4 : at + 4 + size])
            at += 4 + size
            ends.append(text if _PLAIN_BOUND.fullmatch(text) else b'"' + _doubled(text) + b'"')
        left, right = b"[" if flags & _LOWER_IN else b"(", b"]" if flags & _UPPER_IN else b")"
        return left + ends[0] + b"," + ends[1] + right

    return convert


def spans(one: Convert) -> Convert:
    """A multirange of ranges that `one` converts."""

    def convert(data: bytes) -> bytes:
        (count,) = _INT32(data)
        at, texts = 4, []
        for _ in range(count):
            (size,) = _INT32(data, at)
            texts.append(one(data[at + 4 : at + 4 + size]))
            at += 4 + size
        return b"{" + b",".join(texts) + b"}"

    return convert


def _quoted(text: bytes) -> bytes:
    if _PLAIN.fullmatch(text) and text.upper() != b"NULL":
        return text
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _doubled(text: bytes) -> bytes:
    return text.replace(b"\\", b"\\\\").replace(b'"', b'""')
