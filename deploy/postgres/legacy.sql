-- Roles and database of the monolith's cluster. Run as superuser, in database `postgres`, by psql or statement by statement (each is
-- followed by a line that holds only the separator below). Passwords are set afterwards. CREATE DATABASE has no IF NOT EXISTS: who
-- runs this again passes over "already exists" (42P04). Then run database.sql inside each database.
-- ;;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['legacy_owner', 'legacy_app', 'banyan_cdc', 'banyan_ctl'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', name);
        END IF;
    END LOOP;
END $$;
-- ;;
ALTER ROLE banyan_cdc REPLICATION;
-- ;;
-- The applier writes with session_replication_role = replica: foreign keys and the application's triggers stay quiet.
GRANT SET ON PARAMETER session_replication_role TO banyan_cdc;
-- ;;
-- Preflight asks for the oldest open transaction and for the state of the slots.
GRANT pg_monitor TO banyan_ctl;
-- ;;
-- To say whose newest statement it was that wrote past the guard.
GRANT pg_read_all_stats TO banyan_cdc;
-- ;;
CREATE DATABASE legacy OWNER legacy_owner TEMPLATE template0 ENCODING 'UTF8';
-- ;;
