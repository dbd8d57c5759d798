"""Notification and preferences."""

from sqlalchemy import CHAR, BigInteger, Column, DateTime, ForeignKey, String, Text

from legacy_monolith.base import Base


class Notification(Base):
    __tablename__ = "notification"
    id = Column(BigInteger, primary_key=True)
    customer_id = Column(BigInteger, ForeignKey("customer.id"), nullable=False)
    channel = Column(CHAR(1), nullable=False)  # E e-mail, S text message, P push
    recipient = Column(String(200), nullable=False)
    subject = Column(String(200), nullable=False)
    body = Column(Text, nullable=False)
    status = Column(CHAR(1), nullable=False)  # Q queued (quiet hours), S sent, F failed
    error = Column(String(200))
    created = Column(DateTime, nullable=False)
    sent = Column(DateTime)


class NotificationPref(Base):
    __tablename__ = "notification_pref"
    customer_id = Column(BigInteger, ForeignKey("customer.id"), primary_key=True, autoincrement=False)
    email = Column(CHAR(1), nullable=False)  # Y or N
    sms = Column(CHAR(1), nullable=False)
    push = Column(CHAR(1), nullable=False)
    quiet_from = Column(String(5))  # HH:MM, local
    quiet_to = Column(String(5))
    updated = Column(DateTime, nullable=False)
