"""Customer and contract."""

from sqlalchemy import CHAR, BigInteger, Column, Date, DateTime, ForeignKey, String

from legacy_monolith.base import Base


class Customer(Base):
    __tablename__ = "customer"
    id = Column(BigInteger, primary_key=True)
    email = Column(String(200), nullable=False, unique=True)
    name = Column(String(100), nullable=False)
    phone = Column(String(30))
    city = Column(String(60))
    status = Column(CHAR(1), nullable=False)  # A active, I inactive
    password_hash = Column(String(255), nullable=False)
    created = Column(DateTime, nullable=False)
    updated = Column(DateTime, nullable=False)


class Contract(Base):
    __tablename__ = "contract"
    id = Column(BigInteger, primary_key=True)
    customer_id = Column(BigInteger, ForeignKey("customer.id"), nullable=False)
    tariff_id = Column(BigInteger, ForeignKey("tariff.id"), nullable=False)  # reaches into pricing
    area = Column(String(8), nullable=False)
    start_day = Column(Date, nullable=False)
    end_day = Column(Date)  # exclusive
    status = Column(CHAR(1), nullable=False)  # A active, E ended
    created = Column(DateTime, nullable=False)
