"""How a message gets into the log of a source, for whoever reads it."""

# A message outside a transaction reaches the reader once it is flushed: at once where the server can be asked to
# (PostgreSQL 17), else as a transaction of its own.
EMIT_FLUSHED = "SELECT pg_logical_emit_message(false, %s, extract(epoch from clock_timestamp())::text, true)"
EMIT_TRANSACTION = "SELECT pg_logical_emit_message(true, %s, extract(epoch from clock_timestamp())::text)"
