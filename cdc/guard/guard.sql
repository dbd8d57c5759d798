-- One writer per wave, enforced where the rows are (design §5). Safe to run again.
--
-- Why FOR SHARE: a reader of the ownership row that does not lock it lets a REPEATABLE READ transaction pass whose snapshot is
-- older than the fence. FOR SHARE makes that transaction fail (40001) and makes the fence wait for those that came before it.

CREATE SCHEMA IF NOT EXISTS banyan;

CREATE TABLE IF NOT EXISTS banyan.ownership (
    domain      text    NOT NULL,
    wave        integer NOT NULL,
    bucket_from integer NOT NULL CHECK (bucket_from >= 0),
    bucket_to   integer NOT NULL CHECK (bucket_to <= 1024),
    owner       text    NOT NULL CHECK (owner IN ('legacy', 'service', 'moving')),
    epoch       bigint  NOT NULL CHECK (epoch > 0),
    changed_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (domain, wave),
    CHECK (bucket_from < bucket_to)
);

CREATE TABLE IF NOT EXISTS banyan.guarded (
    domain     text NOT NULL,
    "table"    text NOT NULL,
    key_column text,
    side       text NOT NULL CHECK (side IN ('legacy', 'service')),
    PRIMARY KEY ("table")
);

-- The same as Python's int.from_bytes(md5(key).digest()[:4]) % 1024, for a database in UTF-8.
CREATE OR REPLACE FUNCTION banyan.bucket(key text) RETURNS integer
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN (('x' || substr(md5(key), 1, 8))::bit(32)::bigint % 1024)::integer;

CREATE OR REPLACE FUNCTION banyan.refuse(held banyan.ownership) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING
        ERRCODE = 'BN421',
        MESSAGE = CASE held.owner WHEN 'moving' THEN format('%s is moving (epoch %s)', held.domain, held.epoch)
                  ELSE format('%s is owned by %s (epoch %s)', held.domain, held.owner, held.epoch) END,
        DETAIL = jsonb_build_object('domain', held.domain, 'wave', held.wave, 'owner', held.owner, 'epoch', held.epoch),
        HINT = CASE held.owner WHEN 'moving' THEN 'Nothing was written. The wave changes hands: try again in a moment.'
               ELSE format('Nothing was written. Send the write to the %s side.', held.owner) END;
END $$;

-- A rehearsal: a transaction that tries writes which this side may not make, and that can never commit. The guard believes no setting,
-- but this table's row of the running transaction, and nothing that it let in can stay without that row:
--
-- 1. Only banyan.rehearse() inserts one, and nobody updates, deletes or truncates it but the table's owner.
-- 2. The row's deferred trigger raises at COMMIT and at PREPARE TRANSACTION, or at once after SET CONSTRAINTS … IMMEDIATE. One that has
--    raised inside a savepoint waits again when that is rolled back. It fires under every session_replication_role.
-- 3. A rollback to a savepoint that takes the row with it takes what came after the row, so every write that it let in.
CREATE UNLOGGED TABLE IF NOT EXISTS banyan.rehearsal (xid xid8 PRIMARY KEY);

CREATE OR REPLACE FUNCTION banyan.refuse_commit() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'a rehearsal cannot be committed'
        USING ERRCODE = 'BN423', HINT = 'Nothing was kept. Roll it back, or do the work without banyan.rehearse().';
END $$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = 'banyan.rehearsal'::regclass AND tgname = 'banyan_never' AND tgenabled = 'A') THEN
        DROP TRIGGER IF EXISTS banyan_never ON banyan.rehearsal;
        CREATE CONSTRAINT TRIGGER banyan_never AFTER INSERT ON banyan.rehearsal DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION banyan.refuse_commit();
        ALTER TABLE banyan.rehearsal ENABLE ALWAYS TRIGGER banyan_never;
    END IF;
END $$;

-- Makes the running transaction a rehearsal. It gives way: the applier may need the same rows, and must not be the victim of a deadlock.
CREATE OR REPLACE FUNCTION banyan.rehearse() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO banyan.rehearsal (xid) VALUES (pg_current_xact_id()) ON CONFLICT DO NOTHING;
    PERFORM set_config('banyan.rehearsal', 'on', true);  -- only spares all others the look into the table
    PERFORM set_config('lock_timeout', '250ms', true), set_config('idle_in_transaction_session_timeout', '2s', true);
END $$;

CREATE OR REPLACE FUNCTION banyan.rehearses() RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM banyan.rehearsal r WHERE r.xid = pg_current_xact_id_if_assigned());
END $$;

-- A session with an origin that is none of ours passes as the applier does, and no stream carries what it writes: told by whom, once for
-- each transaction and table. In the transaction itself, so it is there if and only if the write is.
CREATE OR REPLACE FUNCTION banyan.witness(p_domain text, p_side text, p_table text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    carrier constant text := p_domain || CASE p_side WHEN 'legacy' THEN '.forward' ELSE '.reverse' END;
    this    constant bigint := pg_current_xact_id()::text::bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM banyan.foreign_write f WHERE f.stream = carrier AND f.xid = this AND f."table" = p_table)
       AND (SELECT count(*) FROM banyan.foreign_write f WHERE f.stream = carrier AND f.settled_at IS NULL) < 1000 THEN
        INSERT INTO banyan.foreign_write (stream, lsn, "table", xid, commit_at, role)
        VALUES (carrier, pg_current_wal_insert_lsn(), p_table, this, clock_timestamp(),
                session_user || coalesce(' (' || nullif(current_setting('application_name'), '') || ')', ''))
        ON CONFLICT DO NOTHING;
    END IF;
END $$;

-- Before the statement: the side must own every wave of the domain. Arguments: domain, side, key column.
CREATE OR REPLACE FUNCTION banyan.guard() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held banyan.ownership;
BEGIN
    IF pg_replication_origin_session_is_setup() THEN
        IF current_setting('application_name') NOT LIKE 'banyan-%' THEN
            PERFORM banyan.witness(TG_ARGV[0], TG_ARGV[1], format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME));
        END IF;
        RETURN NULL;  -- the applier: what it brings was accepted by the owner
    END IF;
    IF coalesce(current_setting('banyan.rehearsal', true), '') = 'on' AND banyan.rehearses() THEN
        RETURN NULL;  -- it can never commit, so it takes no lock that a switch would have to wait for
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        PERFORM banyan.require(TG_ARGV[0], TG_ARGV[1], NULL);
        RETURN NULL;
    END IF;
    -- One wave, one row. Not a loop: this runs for every write.
    SELECT * INTO held FROM banyan.ownership o WHERE o.domain = TG_ARGV[0] LIMIT 1 FOR SHARE;
    IF held.owner = TG_ARGV[1] THEN
        RETURN NULL;
    END IF;
    PERFORM banyan.require(TG_ARGV[0], TG_ARGV[1], NULL);
    RETURN NULL;
END $$;

-- Raises BN421 unless the side owns these waves of the domain (NULL: all of them), which stay so until the transaction ends.
CREATE OR REPLACE FUNCTION banyan.require(p_domain text, p_side text, p_waves integer[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held    banyan.ownership;
    checked integer := 0;
BEGIN
    FOR held IN
        SELECT * FROM banyan.ownership o
         WHERE o.domain = p_domain AND (p_waves IS NULL OR o.wave = ANY (p_waves))
         ORDER BY o.wave
           FOR SHARE
    LOOP
        IF held.owner <> p_side THEN
            PERFORM banyan.refuse(held);
        END IF;
        checked := checked + 1;
    END LOOP;
    IF checked = 0 OR array_position(p_waves, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'nobody owns a row of %', p_domain USING ERRCODE = 'BN422',
            HINT = 'Its bucket key is NULL, or banyan.ownership lacks a wave: run the guard''s installation again.';
    END IF;
END $$;

-- For what writes past the triggers, a fill and a replay: raises BN421 unless the side owns every wave of the domain (or the wave of
-- this bucket key), which stay so until the transaction ends. A domain that is not guarded here passes.
CREATE OR REPLACE FUNCTION banyan.assert_owned(p_domain text, p_side text, p_key text DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    bucket constant integer := banyan.bucket(p_key);
    held   banyan.ownership;
BEGIN
    FOR held IN
        SELECT * FROM banyan.ownership o
         WHERE o.domain = p_domain AND (bucket IS NULL OR bucket >= o.bucket_from AND bucket < o.bucket_to)
         ORDER BY o.wave
           FOR SHARE
    LOOP
        IF held.owner <> p_side THEN
            PERFORM banyan.refuse(held);
        END IF;
    END LOOP;
END $$;

-- A row that changed its bucket would change its wave, past the check of who owns it.
CREATE OR REPLACE FUNCTION banyan.guard_key() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT pg_replication_origin_session_is_setup() THEN
        RAISE EXCEPTION 'a row of % may not change its %', TG_TABLE_NAME, TG_ARGV[2]
            USING ERRCODE = 'BN422', HINT = 'The key says which side owns the row: insert a new row and delete this one.';
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION banyan.fence(
    p_domain text, p_wave integer, p_expected_epoch bigint, p_lock_timeout_ms integer, OUT epoch bigint, OUT lsn pg_lsn
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    deadline constant timestamptz := clock_timestamp() + p_lock_timeout_ms * interval '1 ms';
    budget   constant integer := (SELECT setting FROM pg_settings WHERE name = 'deadlock_timeout');
    side     constant text := (SELECT min(g.side) FROM banyan.guarded g WHERE g.domain = p_domain);
    held     banyan.ownership;
    guarded  text;
BEGIN
    -- Several tables: a writer that took them in another order would deadlock with us. Below deadlock_timeout we give way.
    IF p_lock_timeout_ms IS NULL OR p_lock_timeout_ms NOT BETWEEN 1 AND budget - 1 THEN
        RAISE EXCEPTION 'the fence''s lock timeout must be from 1 to % ms', budget - 1 USING ERRCODE = '22023';
    END IF;
    PERFORM banyan.expect(p_domain, p_wave, p_expected_epoch, side);  -- refuse before anybody waits for us
    PERFORM banyan.stop_autovacuum(p_domain);
    FOR guarded IN SELECT g."table" FROM banyan.guarded g WHERE g.domain = p_domain ORDER BY g."table" LOOP
        PERFORM banyan.wait_until(deadline);
        EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', guarded::regclass);
    END LOOP;
    PERFORM banyan.wait_until(deadline);
    UPDATE banyan.ownership o SET owner = 'moving', epoch = o.epoch + 1, changed_at = clock_timestamp()
     WHERE o.domain = p_domain AND o.wave = p_wave AND o.owner = side AND o.epoch = p_expected_epoch
    RETURNING o.* INTO held;
    IF NOT FOUND THEN
        PERFORM banyan.expect(p_domain, p_wave, p_expected_epoch, side);
    END IF;
    epoch := held.epoch;
    -- In the same transaction: every write that was let in commits before it, so whoever sees it has seen them all.
    lsn := pg_logical_emit_message(true, 'banyan.fence',
        jsonb_build_object('domain', p_domain, 'wave', p_wave, 'epoch', held.epoch)::text);
END $$;

-- Autovacuum gives way only to those who wait past deadlock_timeout, which the fence never does. So it is cancelled and begins again
-- later. One "to prevent wraparound" never gives way: then the fence fails at once, before any writer queues behind it.
CREATE OR REPLACE FUNCTION banyan.stop_autovacuum(p_domain text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    worker record;
BEGIN
    FOR worker IN
        SELECT a.pid, l.relation::regclass::text AS name, a.query LIKE '%(to prevent wraparound)' AS stays
          FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND l.granted AND l.locktype = 'relation'
         WHERE a.backend_type = 'autovacuum worker' AND a.datname = current_database()
           AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
           AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
           AND l.relation IN (SELECT g."table"::regclass FROM banyan.guarded g WHERE g.domain = p_domain)
    LOOP
        IF worker.stays THEN
            RAISE EXCEPTION 'an autovacuum to prevent wraparound works on % (pid %)', worker.name, worker.pid
                USING ERRCODE = '55P03', HINT = 'Nothing changed. It does not give way: try again when it is done.';
        END IF;
        PERFORM pg_cancel_backend(worker.pid);
    END LOOP;
EXCEPTION WHEN insufficient_privilege THEN
    NULL;  -- the installer is neither superuser nor pg_signal_autovacuum_worker: as before, the lock timeout decides
END $$;

-- The lock timeout of the statements that follow is what is left until then.
CREATE OR REPLACE FUNCTION banyan.wait_until(deadline timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    left_ms constant integer := ceil(extract(epoch FROM deadline - clock_timestamp()) * 1000);
BEGIN
    IF left_ms <= 0 THEN
        RAISE EXCEPTION 'canceling statement due to lock timeout' USING ERRCODE = '55P03';
    END IF;
    PERFORM set_config('lock_timeout', left_ms::text, true);
END $$;

-- Raises BN409 unless the wave has this epoch and (if given) this owner.
CREATE OR REPLACE FUNCTION banyan.expect(p_domain text, p_wave integer, p_epoch bigint, p_owner text) RETURNS banyan.ownership
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held banyan.ownership;
BEGIN
    SELECT * INTO held FROM banyan.ownership o WHERE o.domain = p_domain AND o.wave = p_wave;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'wave % of % does not exist here', p_wave, p_domain
            USING ERRCODE = 'BN409', HINT = 'Install the guard of this domain first.';
    END IF;
    IF held.epoch <> p_epoch OR held.owner <> p_owner THEN
        RAISE EXCEPTION 'wave % of % is owned by % (epoch %), not by % (epoch %)',
            p_wave, p_domain, held.owner, held.epoch, coalesce(p_owner, 'anybody'), p_epoch
            USING ERRCODE = 'BN409', HINT = 'Somebody else moved it: read the ownership again.',
                  DETAIL = jsonb_build_object('domain', p_domain, 'wave', p_wave, 'owner', held.owner, 'epoch', held.epoch);
    END IF;
    RETURN held;
END $$;

CREATE OR REPLACE FUNCTION banyan.set_owner(
    p_domain text, p_wave integer, p_owner text, p_expected_epoch bigint, p_new_epoch bigint
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    side constant text := (SELECT min(g.side) FROM banyan.guarded g WHERE g.domain = p_domain);
    held banyan.ownership;
BEGIN
    IF p_owner IS NULL OR p_owner NOT IN ('legacy', 'service') THEN
        RAISE EXCEPTION 'an owner is legacy or service, not %', coalesce(p_owner, 'NULL')
            USING ERRCODE = '22023', HINT = 'Only banyan.fence makes a wave moving.';
    END IF;
    IF p_new_epoch IS NULL OR p_new_epoch < p_expected_epoch THEN
        RAISE EXCEPTION 'an epoch never falls: % to %', p_expected_epoch, p_new_epoch USING ERRCODE = '22023';
    END IF;
    SELECT * INTO held FROM banyan.ownership o WHERE o.domain = p_domain AND o.wave = p_wave FOR UPDATE;
    IF FOUND AND held.owner = p_owner AND held.epoch = p_new_epoch THEN
        RETURN held.epoch;  -- said before: a switch that is resumed says it again
    END IF;
    PERFORM banyan.expect(p_domain, p_wave, p_expected_epoch, held.owner);
    IF held.owner = side AND p_owner <> side THEN
        RAISE EXCEPTION 'wave % of % still takes writes here', p_wave, p_domain
            USING ERRCODE = 'BN409', HINT = 'Fence it first, so that no transaction is under way.';
    END IF;
    UPDATE banyan.ownership o SET owner = p_owner, epoch = p_new_epoch, changed_at = clock_timestamp()
     WHERE o.domain = p_domain AND o.wave = p_wave;
    RETURN p_new_epoch;
END $$;

REVOKE ALL ON FUNCTION banyan.fence(text, integer, bigint, integer) FROM PUBLIC;
REVOKE ALL ON FUNCTION banyan.set_owner(text, integer, text, bigint, bigint) FROM PUBLIC;
REVOKE ALL ON FUNCTION banyan.witness(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION banyan.guard() FROM PUBLIC;
REVOKE ALL ON FUNCTION banyan.require(text, text, integer[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION banyan.assert_owned(text, text, text) FROM PUBLIC;
REVOKE ALL ON FUNCTION banyan.guard_key() FROM PUBLIC;
REVOKE ALL ON FUNCTION banyan.rehearse() FROM PUBLIC;
REVOKE ALL ON FUNCTION banyan.rehearses() FROM PUBLIC;
REVOKE ALL ON FUNCTION banyan.refuse_commit() FROM PUBLIC;
