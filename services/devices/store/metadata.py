"""The one MetaData that all tables of this service hang on."""

import sqlalchemy as sa

METADATA = sa.MetaData()
