"""Watches the gates of each domain's stage, and steps back or freezes by itself when they fail."""

from migration_plan.steward.decide import Decision, Look, decide

__all__ = ["Decision", "Look", "decide"]
