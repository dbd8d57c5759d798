"""Meter and reading."""

from sqlalchemy import CHAR, BigInteger, Column, DateTime, ForeignKey, Numeric, String, UniqueConstraint

from legacy_monolith.base import Base


class Meter(Base):
    __tablename__ = "meter"
    id = Column(BigInteger, primary_key=True)
    contract_id = Column(BigInteger, ForeignKey("contract.id"), nullable=False)
    ean = Column(String(18), nullable=False, unique=True)
    created = Column(DateTime, nullable=False)


class Reading(Base):
    __tablename__ = "reading"
    __table_args__ = (UniqueConstraint("meter_id", "ts", "hour_flag"),)
    id = Column(BigInteger, primary_key=True)
    meter_id = Column(BigInteger, ForeignKey("meter.id"), nullable=False)
    ts = Column(DateTime, nullable=False)  # start of the hour, local
    hour_flag = Column(CHAR(1), nullable=False)
    kwh = Column(Numeric(12, 3), nullable=False)
    updated = Column(DateTime, nullable=False)
