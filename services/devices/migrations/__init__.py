"""Alembic's migrations of the devices database; linear, `NNNN_what.py`."""
