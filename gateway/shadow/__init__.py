"""Copies of reads to the other side, and what differed."""
