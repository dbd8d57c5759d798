"""Batteries: devices, schedules, acknowledgements, commands, and the job that writes them."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE device (
            id          bigserial PRIMARY KEY,
            serial      varchar(40) NOT NULL UNIQUE,
            customer_id bigint NOT NULL REFERENCES customer,
            model       varchar(40) NOT NULL,
            capacity_wh integer NOT NULL,
            max_power_w integer NOT NULL,
            status      char(1) NOT NULL CHECK (status IN ('N', 'A', 'R')),
            token_sha1  char(40) NOT NULL UNIQUE,
            registered  timestamp NOT NULL
        )
    """)
    op.execute("CREATE INDEX device_customer ON device (customer_id)")
    op.execute("""
        CREATE TABLE schedule (
            device_id bigint PRIMARY KEY REFERENCES device,
            version   integer NOT NULL,
            slots     text NOT NULL,
            updated   timestamp NOT NULL
        )
    """)
    op.execute("""
        CREATE TABLE ack (
            id        bigserial PRIMARY KEY,
            device_id bigint NOT NULL REFERENCES device,
            ref       varchar(64) NOT NULL,
            state     char(1) NOT NULL CHECK (state IN ('D', 'S', 'F', 'X')),
            note      varchar(200) NOT NULL,
            observed  timestamp NOT NULL,
            received  timestamp NOT NULL,
            UNIQUE (device_id, ref, state)
        )
    """)
    op.execute("CREATE INDEX ack_device ON ack (device_id, id)")
    op.execute("""
        CREATE TABLE battery_command (
            id        bigserial PRIMARY KEY,
            device_id bigint NOT NULL REFERENCES device,
            ref       varchar(64) NOT NULL UNIQUE,
            mode      char(1) NOT NULL CHECK (mode IN ('C', 'D', 'H')),
            power_w   integer NOT NULL,
            status    char(1) NOT NULL CHECK (status IN ('Q', 'S', 'X')),
            issued    timestamp NOT NULL,
            expires   timestamp NOT NULL
        )
    """)
    op.execute("CREATE INDEX battery_command_device ON battery_command (device_id, expires)")
    op.execute("""
        CREATE TABLE imbalance_price (
            id        bigserial PRIMARY KEY,
            area      varchar(8) NOT NULL,
            ts        timestamp NOT NULL,
            hour_flag char(1) NOT NULL CHECK (hour_flag IN ('N', 'A', 'B')),
            eur_mwh   numeric(10,2) NOT NULL,
            received  timestamp NOT NULL,
            UNIQUE (area, ts, hour_flag)
        )
    """)
    op.execute("""
        CREATE TABLE cron_run (
            job       varchar(40) NOT NULL,
            minute    timestamp NOT NULL,
            hour_flag char(1) NOT NULL,
            host      varchar(80) NOT NULL,
            result    varchar(200),
            PRIMARY KEY (job, minute, hour_flag)
        )
    """)


def downgrade() -> None:
    for table in ("cron_run", "imbalance_price", "battery_command", "ack", "schedule", "device"):
        op.execute(f"DROP TABLE {table}")
