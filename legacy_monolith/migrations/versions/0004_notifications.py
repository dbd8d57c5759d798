"""Notices and preferences."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE notification (
            id          bigserial PRIMARY KEY,
            customer_id bigint NOT NULL REFERENCES customer,
            channel     char(1) NOT NULL CHECK (channel IN ('E', 'S', 'P')),
            recipient   varchar(200) NOT NULL,
            subject     varchar(200) NOT NULL,
            body        text NOT NULL,
            status      char(1) NOT NULL CHECK (status IN ('Q', 'S', 'F')),
            error       varchar(200),
            created     timestamp NOT NULL,
            sent        timestamp
        )
    """)
    op.execute("CREATE INDEX notification_customer ON notification (customer_id, id)")
    op.execute("CREATE INDEX notification_queued ON notification (id) WHERE status = 'Q'")
    op.execute("""
        CREATE TABLE notification_pref (
            customer_id bigint PRIMARY KEY REFERENCES customer,
            email       char(1) NOT NULL CHECK (email IN ('Y', 'N')),
            sms         char(1) NOT NULL CHECK (sms IN ('Y', 'N')),
            push        char(1) NOT NULL CHECK (push IN ('Y', 'N')),
            quiet_from  varchar(5),
            quiet_to    varchar(5),
            updated     timestamp NOT NULL
        )
    """)


def downgrade() -> None:
    op.execute("DROP TABLE notification_pref")
    op.execute("DROP TABLE notification")
