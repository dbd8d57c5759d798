"""What the minute job reads, and what tells that it has run."""

from sqlalchemy import CHAR, BigInteger, Column, DateTime, Numeric, String, UniqueConstraint

from legacy_monolith.base import Base


class ImbalancePrice(Base):
    __tablename__ = "imbalance_price"
    __table_args__ = (UniqueConstraint("area", "ts", "hour_flag"),)
    id = Column(BigInteger, primary_key=True)
    area = Column(String(8), nullable=False)
    ts = Column(DateTime, nullable=False)  # the minute, local
    hour_flag = Column(CHAR(1), nullable=False)
    eur_mwh = Column(Numeric(10, 2), nullable=False)
    received = Column(DateTime, nullable=False)


class CronRun(Base):
    """One row a job and minute: whoever inserts it runs the job."""

    __tablename__ = "cron_run"
    job = Column(String(40), primary_key=True)
    minute = Column(DateTime, primary_key=True)
    hour_flag = Column(CHAR(1), primary_key=True)
    host = Column(String(80), nullable=False)
    result = Column(String(200))
