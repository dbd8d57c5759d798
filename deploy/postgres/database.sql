-- Rights inside one database. Run as superuser in each of legacy, pricing, devices, notifications and banyan, after legacy.sql or
-- services.sql; it may run again. Nobody gets in but the database's own roles and the engine's two.
-- ;;
DO $$
DECLARE
    name text;
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    FOREACH name IN ARRAY ARRAY[current_database() || '_app', 'banyan_cdc', 'banyan_ctl'] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), name);
        END IF;
    END LOOP;
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO banyan_cdc', current_database());
END $$;
-- ;;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
-- ;;
-- The applier marks its transactions with its origin; only it may, because the guard lets an origin pass.
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT oid::regprocedure FROM pg_proc
              WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^pg_replication_origin_'
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO banyan_cdc', f);
    END LOOP;
END $$;
-- ;;
