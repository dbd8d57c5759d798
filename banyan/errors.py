"""Errors that a person at the command line sees: one line that says what, and what to do.

BanyanError
├── ServerMissing     a server's binary is not on this machine
├── DataMissing       public data that a bench needs cannot be had
├── ServerTooOld      a server's version is below what Banyan needs
├── ServerFailed      a server did not become ready; carries the end of its log
├── PortInUse         somebody else listens where we were told to
├── PortDenied        this user may not listen where we were told to
└── StackError        the local stack is not in the state that the command needs
"""

from __future__ import annotations


class BanyanError(Exception):
    """Something that the user can act on; printed as one line, exit code 1."""


class ServerMissing(BanyanError):
    """A server's binary was found neither in the environment nor on PATH."""


class DataMissing(BanyanError):
    """Public data that a bench stands on cannot be had on this machine."""


class ServerTooOld(BanyanError):
    """A server is there, but older than the features that Banyan uses."""


class ServerFailed(BanyanError):
    """A server ended or did not answer within its time."""


class PortInUse(BanyanError):
    """A port that was asked for by number is taken."""


class PortDenied(BanyanError):
    """A port that was asked for by number is not for this user."""


class StackError(BanyanError):
    """The local stack is missing, half started or of another version."""
