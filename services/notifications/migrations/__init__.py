"""Alembic's migrations of the notifications database; linear, `NNNN_what.py`."""
