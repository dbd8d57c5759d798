"""Device, schedule, ack and command."""

from sqlalchemy import CHAR, BigInteger, Column, DateTime, ForeignKey, Integer, String, Text, UniqueConstraint

from legacy_monolith.base import Base


class Device(Base):
    __tablename__ = "device"
    id = Column(BigInteger, primary_key=True)
    serial = Column(String(40), nullable=False, unique=True)
    customer_id = Column(BigInteger, ForeignKey("customer.id"), nullable=False)
    model = Column(String(40), nullable=False)
    capacity_wh = Column(Integer, nullable=False)
    max_power_w = Column(Integer, nullable=False)
    status = Column(CHAR(1), nullable=False)  # N new, A active (has acknowledged something), R retired
    token_sha1 = Column(CHAR(40), nullable=False, unique=True)
    registered = Column(DateTime, nullable=False)


class Schedule(Base):
    __tablename__ = "schedule"
    device_id = Column(BigInteger, ForeignKey("device.id"), primary_key=True, autoincrement=False)
    version = Column(Integer, nullable=False)
    slots = Column(Text, nullable=False)  # 0000-0500 C2500;0500-1600 H0;1600-2000 D3000
    updated = Column(DateTime, nullable=False)


class Ack(Base):
    __tablename__ = "ack"
    __table_args__ = (UniqueConstraint("device_id", "ref", "state"),)
    id = Column(BigInteger, primary_key=True)
    device_id = Column(BigInteger, ForeignKey("device.id"), nullable=False)
    ref = Column(String(64), nullable=False)
    state = Column(CHAR(1), nullable=False)  # D delivered, S succeeded, F failed, X expired
    note = Column(String(200), nullable=False)
    observed = Column(DateTime, nullable=False)
    received = Column(DateTime, nullable=False)


class BatteryCommand(Base):
    __tablename__ = "battery_command"
    id = Column(BigInteger, primary_key=True)
    device_id = Column(BigInteger, ForeignKey("device.id"), nullable=False)
    ref = Column(String(64), nullable=False, unique=True)
    mode = Column(CHAR(1), nullable=False)  # C charge, D discharge, H hold
    power_w = Column(Integer, nullable=False)
    status = Column(CHAR(1), nullable=False)  # Q queued, S sent, X expired
    issued = Column(DateTime, nullable=False)
    expires = Column(DateTime, nullable=False)
