"""HTTP/1.1 byte by byte: what is sent to a gateway, what its upstream must see, what its client must get.

The cases are data (`cases/`). The suite holds this gateway to them; `python -m tests.conformance` shows the same cases
to Envoy and nginx too and writes docs/conformance.md.
"""
