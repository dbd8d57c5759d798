"""Drills: faults on purpose, on a scratch stack of their own, and an account of what they did."""
