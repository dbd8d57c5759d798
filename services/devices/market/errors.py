"""What can go wrong with the market's data.

MarketError
├── SourceAway        the source did not answer in time, or with an error that may pass
└── BadData           it answered something that is not what its schema says; nothing of it is kept
"""

from __future__ import annotations


class MarketError(Exception):
    """No new prices this time; the next run asks again."""


class SourceAway(MarketError):
    """The source did not answer in time, or with an error that may pass."""


class BadData(MarketError):
    """The source answered something that is not what its schema says; nothing of it is kept."""
