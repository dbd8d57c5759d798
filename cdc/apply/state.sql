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
CREATE INDEX IF NOT EXISTS parked_queue ON banyan.parked (stream, "table", key, id);
