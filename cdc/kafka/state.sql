-- State of the streams that come through Kafka, beside banyan.stream. Made by prepare; every statement may run again.
ALTER TABLE banyan.stream
    ADD COLUMN IF NOT EXISTS transport text NOT NULL DEFAULT 'direct' CHECK (transport IN ('direct', 'kafka')),
    ADD COLUMN IF NOT EXISTS move_to text CHECK (move_to IN ('direct', 'kafka'));  -- asked for by `cdc move`

-- How far the target has applied each partition; written in the transaction that applies it. Kafka's own committed
-- offsets only tell people.
CREATE TABLE IF NOT EXISTS banyan.kafka_partition (
    stream      text NOT NULL,
    topic       text NOT NULL,
    "partition" integer NOT NULL,
    next_offset bigint NOT NULL,                          -- the first that is not applied
    session     text NOT NULL DEFAULT '',                 -- of the relay whose records count at this place
    number      bigint NOT NULL DEFAULT -1,               -- of its last record that counted
    rows        bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (stream, topic, "partition")
) WITH (fillfactor = 20);

ALTER TABLE banyan.kafka_partition
    ADD COLUMN IF NOT EXISTS topic_id text NOT NULL DEFAULT '';  -- Kafka's: a topic made anew has another

-- The newest change that each recently changed row has seen, deletes included. See cdc/kafka/guard.py.
CREATE TABLE IF NOT EXISTS banyan.row_lsn (
    stream        text COLLATE "C" NOT NULL,
    "table"       text COLLATE "C" NOT NULL,              -- the source's
    key           text COLLATE "C" NOT NULL,              -- as in the record; empty: the table was truncated
    commit_lsn    bigint NOT NULL,                        -- of the change's transaction, then of the change itself
    lsn           bigint NOT NULL,
    deleted       boolean NOT NULL,                       -- a tombstone: the row is gone, and stays so for older changes
    before_commit bigint NOT NULL DEFAULT 0,              -- what it had seen before that
    before_lsn    bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (stream, "table", key)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
        autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 100000);
