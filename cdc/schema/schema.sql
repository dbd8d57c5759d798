-- What a database remembers of the tables that streams read and write. Made by prepare, as part of the streams' state; may run again.

-- At a stream's target: the shapes that it goes by. Whatever else comes is judged.
CREATE TABLE IF NOT EXISTS banyan.shape (
    stream      text NOT NULL,
    side        text NOT NULL CHECK (side IN ('source', 'target')),
    "table"     text NOT NULL,
    shape       jsonb NOT NULL,
    accepted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream, side, "table")
);

-- At a stream's target: why it stands, and who let it go on. Open while resumed_at is null.
CREATE TABLE IF NOT EXISTS banyan.halt (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream     text NOT NULL,
    side       text NOT NULL CHECK (side IN ('source', 'target')),
    "table"    text NOT NULL,
    lsn        pg_lsn,                                    -- commit of the source's change; null for a change of the target
    what       text NOT NULL,
    halted_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    resumed_at timestamptz,
    resumed_by text,
    reason     text,
    through    pg_lsn                                     -- changes of the source up to here were looked at by whoever resumed
);
CREATE UNIQUE INDEX IF NOT EXISTS halt_open ON banyan.halt (stream) WHERE resumed_at IS NULL;

-- At a stream's target: changes of tables that the stream writes, in the transactions that made them. While one of them is
-- not settled, no transaction of the stream commits.
CREATE TABLE IF NOT EXISTS banyan.ddl (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream     text NOT NULL,
    "table"    text NOT NULL,
    tag        text NOT NULL,
    role       text NOT NULL,
    before     jsonb,
    after      jsonb,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at timestamptz
);
CREATE INDEX IF NOT EXISTS ddl_open ON banyan.ddl (stream) WHERE settled_at IS NULL;

CREATE OR REPLACE FUNCTION banyan.refuse_shape(p_stream text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changed record;
BEGIN
    SELECT d."table", d.tag INTO changed FROM banyan.ddl d WHERE d.stream = p_stream AND d.settled_at IS NULL ORDER BY d.id LIMIT 1;
    RAISE EXCEPTION 'the target''s table % was changed (%)', changed."table", changed.tag USING ERRCODE = 'BN424';
END $$;
