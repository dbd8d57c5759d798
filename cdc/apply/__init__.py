"""Apply: changes into the target, idempotent, with the position in the same transaction."""

from cdc.apply.state import StreamState, install_state, read_state

__all__ = ["StreamState", "install_state", "read_state"]
