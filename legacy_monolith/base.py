"""The declarative base. Columns are in the style of the day this was written; migrations are the truth."""

from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    pass
