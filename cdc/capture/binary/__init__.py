"""Values in binary, as the types' send functions write them, to the text that their output functions would print."""

from cdc.capture.binary.catalog import Resolver, resolver

__all__ = ["Resolver", "resolver"]
