"""Messages that leave through a transactional outbox and enter through an inbox, at least once, in effect once."""

from services.chassis.messages.inbox import Consumer
from services.chassis.messages.outbox import Message, put, put_once
from services.chassis.messages.relay import Relay

__all__ = ["Consumer", "Message", "Relay", "put", "put_once"]
