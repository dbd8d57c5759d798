"""Customers, and the bare tariffs that contracts point at."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE customer (
            id            bigserial PRIMARY KEY,
            email         varchar(200) NOT NULL UNIQUE,
            name          varchar(100) NOT NULL,
            phone         varchar(30),
            city          varchar(60),
            status        char(1) NOT NULL CHECK (status IN ('A', 'I')),
            password_hash varchar(255) NOT NULL,
            created       timestamp NOT NULL,
            updated       timestamp NOT NULL
        )
    """)
    op.execute("""
        CREATE TABLE tariff (
            id             bigserial PRIMARY KEY,
            code           varchar(20) NOT NULL UNIQUE,
            name           varchar(100) NOT NULL,
            status         char(1) NOT NULL CHECK (status IN ('A', 'I')),
            kind           char(1) NOT NULL CHECK (kind IN ('F', 'D')),
            standing_cents integer NOT NULL,
            vat_pct        numeric(5,2) NOT NULL,
            valid_from     timestamp NOT NULL,
            updated        timestamp NOT NULL
        )
    """)
    op.execute("""
        CREATE TABLE contract (
            id          bigserial PRIMARY KEY,
            customer_id bigint NOT NULL REFERENCES customer,
            tariff_id   bigint NOT NULL REFERENCES tariff,
            area        varchar(8) NOT NULL,
            start_day   date NOT NULL,
            end_day     date,
            status      char(1) NOT NULL CHECK (status IN ('A', 'E')),
            created     timestamp NOT NULL,
            CHECK (end_day > start_day)
        )
    """)
    op.execute("CREATE INDEX contract_customer ON contract (customer_id)")
    op.execute("CREATE INDEX contract_tariff ON contract (tariff_id)")
    op.execute("""
        CREATE TABLE meter (
            id          bigserial PRIMARY KEY,
            contract_id bigint NOT NULL REFERENCES contract,
            ean         varchar(18) NOT NULL UNIQUE,
            created     timestamp NOT NULL
        )
    """)
    op.execute("CREATE INDEX meter_contract ON meter (contract_id)")
    op.execute("""
        CREATE TABLE reading (
            id        bigserial PRIMARY KEY,
            meter_id  bigint NOT NULL REFERENCES meter,
            ts        timestamp NOT NULL,
            hour_flag char(1) NOT NULL CHECK (hour_flag IN ('N', 'A', 'B')),
            kwh       numeric(12,3) NOT NULL,
            updated   timestamp NOT NULL,
            UNIQUE (meter_id, ts, hour_flag)
        )
    """)


def downgrade() -> None:
    for table in ("reading", "meter", "contract", "tariff", "customer"):
        op.execute(f"DROP TABLE {table}")
