-- State of the streams that end in this database. Made by prepare; every statement may run again.
CREATE SCHEMA IF NOT EXISTS banyan;

-- One row per stream: how far its target has come. Written in the same transaction as the changes themselves.
CREATE TABLE IF NOT EXISTS banyan.stream (
    stream           text PRIMARY KEY,
    state            text NOT NULL DEFAULT 'prepared' CHECK (state IN ('prepared', 'snapshot', 'streaming')),
    source_system    text,                                -- system identifier of the source cluster
    source_lsn       pg_lsn,                              -- everything committed before it is here
    source_commit_at timestamptz,                         -- source's clock at source_lsn
    applied_at       timestamptz,                         -- this database's clock when source_lsn was written
    rows             bigint NOT NULL DEFAULT 0,           -- row changes applied since the snapshot began
    snapshot_rows    bigint NOT NULL DEFAULT 0,
    prepared_at      timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 20);                                 -- updated with each batch: room for HOT updates

-- The snapshot of the newest fill: a comparison that was made before it says nothing of the rows that are here now.
ALTER TABLE banyan.stream ADD COLUMN IF NOT EXISTS filled_lsn pg_lsn;

-- The source's timeline at source_lsn: a standby that was promoted goes on on another.
ALTER TABLE banyan.stream ADD COLUMN IF NOT EXISTS source_timeline integer;

-- Fence markers that have come through: everything the source committed before the fence is here.
CREATE TABLE IF NOT EXISTS banyan.fence_applied (
    stream     text NOT NULL,
    domain     text NOT NULL,
    wave       integer NOT NULL,
    epoch      bigint NOT NULL,
    lsn        pg_lsn NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream, domain, wave, epoch)
);

-- Changes that the target refused, and the later changes of the same key behind them, in order of id.
CREATE TABLE IF NOT EXISTS banyan.parked (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream    text NOT NULL,
    "table"   text NOT NULL,                              -- the source's table
    key       jsonb NOT NULL,                             -- values of the source's key columns, in order
    change    jsonb NOT NULL,                             -- the source's change, Debezium envelope with schema
    lsn       pg_lsn NOT NULL,
    reason    text,                                       -- null: nothing wrong with it, it waits behind the first
    attempts  integer NOT NULL DEFAULT 0,
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    tried_at  timestamptz
);
-- Commits by somebody who does not own the table: captured on the side that does not own (then this is the target of
-- `stream`, which did not carry them on), or seen by the guard, of a session with an origin of its own (then its source).
CREATE TABLE IF NOT EXISTS banyan.foreign_write (
    stream     text NOT NULL,
    lsn        pg_lsn NOT NULL,                           -- of the commit; of the statement where the guard saw it
    "table"    text NOT NULL,                             -- the one that was written
    xid        bigint NOT NULL,
    commit_at  timestamptz NOT NULL,
    role       text NOT NULL,                             -- unknown, or whose newest statements it may have been
    keys       jsonb NOT NULL DEFAULT '[]',               -- the first ones
    rows       bigint NOT NULL DEFAULT 0,
    seen_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at timestamptz,                               -- somebody has seen to it
    settled_by text,
    PRIMARY KEY (stream, lsn, "table")
);

-- Where the comparison of a domain stands (in the service's database), and the keys that are known to differ.
CREATE TABLE IF NOT EXISTS banyan.verified (
    domain         text PRIMARY KEY,
    began_at       timestamptz,                           -- of the pass that runs; null between two
    at_table       text,
    rows           bigint NOT NULL DEFAULT 0,             -- of this pass so far
    passes         bigint NOT NULL DEFAULT 0,
    rows_total     bigint NOT NULL DEFAULT 0,
    requeued_total bigint NOT NULL DEFAULT 0,             -- looks at keys that were under way
    found_total    bigint NOT NULL DEFAULT 0,
    repaired_total bigint NOT NULL DEFAULT 0,
    last_began_at  timestamptz,                           -- of the newest whole pass: every row was compared since
    last_ended_at  timestamptz,
    last_rows      bigint,
    last_drift     bigint,
    last_unsettled bigint,
    last_clean     boolean,
    last_stalled   text[] NOT NULL DEFAULT '{}',
    last_fills     jsonb NOT NULL DEFAULT '{}',           -- which fill each direction's rows are of
    clean_at       timestamptz,                           -- last_began_at of the newest clean one
    problem        text,                                  -- why the last try ended early
    updated_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS banyan.drift (
    domain   text NOT NULL,
    "table"  text NOT NULL,                               -- the monolith's
    key      jsonb NOT NULL,
    kind     text NOT NULL,                               -- missing, extra or different
    columns  text[] NOT NULL,
    reason   text NOT NULL,
    found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (domain, "table", key)
);

CREATE INDEX IF NOT EXISTS parked_queue ON banyan.parked (stream, "table", key, id);
