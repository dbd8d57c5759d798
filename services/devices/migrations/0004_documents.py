"""Fallbacks and former versions of schedules; and the database tells who waits when a device's document changes.

The triggers fire for what this service writes. Rows that change data capture applies are seen at a device's next poll.
"""

from alembic import op

revision = "0004"
down_revision = "0003"

TABLES = """
CREATE TABLE fallbacks (
    device_id bigint PRIMARY KEY,
    version int NOT NULL,
    after_s int NOT NULL,
    slots jsonb NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE schedule_versions (
    device_id bigint NOT NULL,
    version int NOT NULL,
    slots jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device_id, version)
);

-- A payload holds at most 8,000 bytes.
CREATE FUNCTION tell_documents() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('device_documents', string_agg(device_id::text, ','))
       FROM (SELECT device_id, row_number() OVER () / 300 AS part
               FROM (SELECT DISTINCT device_id FROM changed) AS d) AS numbered
      GROUP BY part;
    RETURN NULL;
END $$;

-- That a command was sent is no change of what its device should know; that it was taken back is one.
CREATE FUNCTION tell_withdrawn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('device_documents', string_agg(device_id::text, ','))
       FROM (SELECT device_id, row_number() OVER () / 300 AS part
               FROM (SELECT DISTINCT device_id FROM changed WHERE state = 'expired') AS d) AS numbered
      GROUP BY part;
    RETURN NULL;
END $$;

CREATE FUNCTION tell_tokens() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('device_tokens', NEW.id::text);
    RETURN NULL;
END $$;

CREATE TRIGGER told_insert AFTER INSERT ON schedules REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tell_documents();
CREATE TRIGGER told_update AFTER UPDATE ON schedules REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tell_documents();
CREATE TRIGGER told_insert AFTER INSERT ON fallbacks REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tell_documents();
CREATE TRIGGER told_update AFTER UPDATE ON fallbacks REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tell_documents();
CREATE TRIGGER told_insert AFTER INSERT ON commands REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tell_documents();
CREATE TRIGGER told_update AFTER UPDATE ON commands REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tell_withdrawn();
CREATE TRIGGER told_token AFTER UPDATE OF token_sha1, state ON devices
    FOR EACH ROW WHEN (OLD.token_sha1 <> NEW.token_sha1 OR NEW.state = 'retired') EXECUTE FUNCTION tell_tokens();
"""

BACK = """
DROP TRIGGER told_token ON devices;
DROP TRIGGER told_update ON commands;
DROP TRIGGER told_insert ON commands;
DROP TRIGGER told_update ON schedules;
DROP TRIGGER told_insert ON schedules;
DROP TABLE schedule_versions, fallbacks;
DROP FUNCTION tell_tokens(), tell_withdrawn(), tell_documents();
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute(BACK)
