"""Converters by the names that mapping files give them."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from cdc.mapping.converters import (
    Converter,
    cents,
    char,
    clock,
    codes,
    enum,
    local_hour,
    local_time,
    percent,
    scaled,
    yes_no,
)
from cdc.mapping.reference import lookup
from cdc.mapping.several import date_and_time, fields, join, split

Factory = Callable[..., Converter]
CONVERTERS: dict[str, Factory] = {
    factory.__name__: factory
    for factory in (
        local_hour,
        local_time,
        enum,
        codes,
        yes_no,
        cents,
        scaled,
        percent,
        clock,
        char,
        join,
        split,
        date_and_time,
        fields,
        lookup,
    )
}


def find(name: str) -> Factory:
    """The factory called `name` here, or at the import path `package.module:factory`. Raises: LookupError."""
    if name in CONVERTERS:
        return CONVERTERS[name]
    module, colon, attribute = name.partition(":")
    if not colon:
        raise LookupError(
            f"unknown converter {name!r}: use {', '.join(CONVERTERS)}, or an import path package.module:factory"
        )
    try:
        factory = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise LookupError(f"converter {name!r} cannot be imported: {error}") from error
    if not callable(factory):
        raise LookupError(f"converter {name!r} is not a function")
    return factory  # type: ignore[no-any-return]
