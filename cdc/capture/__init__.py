"""Capture: changes out of PostgreSQL's WAL by logical replication, in commit order."""
