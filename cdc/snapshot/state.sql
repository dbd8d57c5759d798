-- Snapshots of the streams that end in this database: what was asked for, and how far it is. Every statement may run again.
CREATE SCHEMA IF NOT EXISTS banyan;

-- One table of one stream. `fills`: the stream counts as filled, and as streaming, only when this is done.
CREATE TABLE IF NOT EXISTS banyan.snapshot (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream     text NOT NULL,
    "table"    text NOT NULL,                             -- the source's
    scope      jsonb NOT NULL DEFAULT '{}',               -- {}: all rows; {"from": key, "to": key}; {"keys": [key, …]}
    fills      boolean NOT NULL DEFAULT false,
    rows_per_s integer CHECK (rows_per_s > 0),            -- a limit of its own
    asked_by   text NOT NULL DEFAULT session_user,
    asked_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    state      text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'running', 'done', 'failed', 'cancelled')),
    step       text NOT NULL DEFAULT 'strangers' CHECK (step IN ('strangers', 'rows', 'blocks', 'again')),
    position   jsonb,                                     -- the key that the step has come to
    heap       bigint,                                    -- of the block ranges: the file that they lie in
    rows       bigint NOT NULL DEFAULT 0,                 -- read at the source so far
    removed    bigint NOT NULL DEFAULT 0,                 -- deleted here, since the source does not have them
    expected   bigint,                                    -- about so many rows there are
    rate       real,                                      -- rows a second of late, by the process that reads them
    waits      text,                                      -- why it pauses
    problem    text,                                      -- why it failed
    began_at   timestamptz,
    ended_at   timestamptz
);
ALTER TABLE banyan.snapshot ADD COLUMN IF NOT EXISTS rate real;  -- of a target that was prepared before
CREATE INDEX IF NOT EXISTS snapshot_open ON banyan.snapshot (stream, id) WHERE state IN ('waiting', 'running');

-- What a first fill has still to copy of a table, as blocks of its heap.
CREATE TABLE IF NOT EXISTS banyan.snapshot_blocks (
    snapshot    bigint NOT NULL,
    first_block bigint NOT NULL,
    end_block   bigint,                                   -- null: to the end of the table
    PRIMARY KEY (snapshot, first_block)
);

-- Keys that the stream could bring in part only while their table was read: they are read again at the end.
CREATE TABLE IF NOT EXISTS banyan.snapshot_again (
    snapshot bigint NOT NULL,
    key      jsonb NOT NULL,
    PRIMARY KEY (snapshot, key)
);
