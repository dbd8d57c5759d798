-- Sees DDL on tables that streams read or write, in the transaction that makes it. Needs a superuser; without it the streams go by
-- what pgoutput describes. The placeholder below is shape.sql.
CREATE TABLE IF NOT EXISTS banyan.watched (
    stream      text NOT NULL,
    side        text NOT NULL CHECK (side IN ('source', 'target')),
    "table"     text NOT NULL,
    publication text,                                     -- of a source's table
    shape       jsonb,                                    -- as the last command left it; null: there is no such table
    PRIMARY KEY (stream, side, "table")
);

CREATE OR REPLACE FUNCTION banyan.table_shape(p_id oid, p_publication text) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN ({shape});
END $$;

-- A table is followed by its oid while it lives, so that a renamed one is found; then by its name.
CREATE OR REPLACE FUNCTION banyan.watched_now(p_watched banyan.watched) RETURNS jsonb
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found jsonb := banyan.table_shape((p_watched.shape ->> 'id')::oid, p_watched.publication);
BEGIN
    IF found IS NULL THEN
        found := banyan.table_shape((
            SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE n.nspname || '.' || c.relname = p_watched."table" AND c.relkind IN ('r', 'p')), p_watched.publication);
    END IF;
    RETURN found;
END $$;

-- The change's own transaction carries the message, so a stream meets it before the first row of the new shape, and never when the
-- change is rolled back. Whatever fails here must not fail the application's command.
CREATE OR REPLACE FUNCTION banyan.note_ddl() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known banyan.watched;
    now_  jsonb;
BEGIN
    FOR known IN SELECT * FROM banyan.watched w WHERE tg_tag !~ '^(CREATE TABLE|SELECT INTO)' OR w.shape IS NULL LOOP
        now_ := banyan.watched_now(known);
        CONTINUE WHEN now_ IS NOT DISTINCT FROM known.shape;
        UPDATE banyan.watched w SET shape = now_
         WHERE w.stream = known.stream AND w.side = known.side AND w."table" = known."table";
        IF known.side = 'source' THEN
            PERFORM pg_logical_emit_message(true, 'banyan.ddl', jsonb_build_object(
                'stream', known.stream, 'table', known."table", 'tag', tg_tag, 'role', session_user,
                'before', known.shape, 'after', now_)::text);
        ELSE
            INSERT INTO banyan.ddl (stream, "table", tag, role, before, after)
            VALUES (known.stream, known."table", tg_tag, session_user, known.shape, now_);
        END IF;
    END LOOP;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'banyan did not note this %: %', tg_tag, sqlerrm;
END $$;
REVOKE ALL ON FUNCTION banyan.note_ddl() FROM PUBLIC;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_event_trigger WHERE evtname = 'banyan_ddl') THEN
        CREATE EVENT TRIGGER banyan_ddl ON ddl_command_end
            WHEN TAG IN ('ALTER TABLE', 'ALTER SCHEMA', 'ALTER TYPE', 'ALTER DOMAIN', 'ALTER PUBLICATION', 'CREATE TABLE',
                         'CREATE TABLE AS', 'SELECT INTO')
            EXECUTE FUNCTION banyan.note_ddl();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_event_trigger WHERE evtname = 'banyan_drop') THEN
        CREATE EVENT TRIGGER banyan_drop ON sql_drop
            WHEN TAG IN ('DROP TABLE', 'DROP SCHEMA', 'DROP TYPE', 'DROP DOMAIN', 'DROP INDEX', 'DROP PUBLICATION', 'DROP EXTENSION',
                         'DROP OWNED')
            EXECUTE FUNCTION banyan.note_ddl();
    END IF;
END $$;
