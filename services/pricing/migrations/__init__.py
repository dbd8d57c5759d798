"""Alembic's migrations of the pricing database; linear, `NNNN_what.py`."""
