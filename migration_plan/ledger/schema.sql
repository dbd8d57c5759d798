-- The ledger: what was done, by whom and with what measured, in rows that nobody changes. Idempotent.

CREATE TABLE IF NOT EXISTS ledger (
    id bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    domain text NOT NULL,
    wave int,
    verb text NOT NULL,
    step text NOT NULL,
    run_id text NOT NULL,
    epoch bigint,
    before text,
    after text,
    measured jsonb NOT NULL,
    reason text,
    prev_hash text NOT NULL,
    hash text NOT NULL UNIQUE
);
CREATE INDEX IF NOT EXISTS ledger_domain ON ledger (domain, verb, id DESC);
CREATE INDEX IF NOT EXISTS ledger_freezes ON ledger (domain, id DESC) WHERE verb IN ('freeze', 'unfreeze');

-- The newest row's hash. Appenders lock it, so rows form one chain; a cut-off tail shows against it.
CREATE TABLE IF NOT EXISTS ledger_head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    id bigint NOT NULL,
    hash text NOT NULL
);
INSERT INTO ledger_head (id, hash) VALUES (0, repeat('0', 64)) ON CONFLICT DO NOTHING;

-- Who steers a domain, numbered: whoever came after has a higher epoch, and what an earlier holder would still write is
-- refused. The lock itself is an advisory one, which ends with its holder's connection.
CREATE TABLE IF NOT EXISTS lease (
    domain text PRIMARY KEY,
    epoch bigint NOT NULL,
    holder text NOT NULL,
    taken timestamptz NOT NULL DEFAULT now()
);

-- Where every wave stands on its way. Ownership itself is in the domains' databases.
CREATE TABLE IF NOT EXISTS state (
    domain text NOT NULL,
    wave int NOT NULL,
    phase text NOT NULL,
    canary_percent int NOT NULL DEFAULT 0,
    owner text NOT NULL,
    epoch bigint NOT NULL,
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (domain, wave)
);

CREATE OR REPLACE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: % refused', TG_OP USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE OR REPLACE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();
ALTER TABLE ledger ENABLE ALWAYS TRIGGER ledger_append_only;
REVOKE UPDATE, DELETE, TRUNCATE ON ledger FROM PUBLIC;

-- The head goes forward only: set back, it would hide that newer rows are gone.
CREATE OR REPLACE FUNCTION ledger_head_goes_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.id >= OLD.id AND (NEW.id > OLD.id OR NEW.hash = OLD.hash) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the ledger is append-only: its head goes forward only' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE OR REPLACE TRIGGER ledger_head_forward BEFORE UPDATE OR DELETE ON ledger_head
    FOR EACH ROW EXECUTE FUNCTION ledger_head_goes_forward();
CREATE OR REPLACE TRIGGER ledger_head_stays BEFORE TRUNCATE ON ledger_head
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only();
ALTER TABLE ledger_head ENABLE ALWAYS TRIGGER ledger_head_forward;
ALTER TABLE ledger_head ENABLE ALWAYS TRIGGER ledger_head_stays;
