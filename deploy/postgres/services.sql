-- Roles and databases of the services' cluster, and the ledger's. See legacy.sql for how to run it.
-- ;;
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY[
        'pricing_owner', 'pricing_app', 'devices_owner', 'devices_app', 'notifications_owner', 'notifications_app',
        'banyan_cdc', 'banyan_ctl'
    ] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', name);
        END IF;
    END LOOP;
END $$;
-- ;;
ALTER ROLE banyan_cdc REPLICATION;
-- ;;
GRANT SET ON PARAMETER session_replication_role TO banyan_cdc;
-- ;;
GRANT pg_monitor TO banyan_ctl;
-- ;;
-- To say whose newest statement it was that wrote past the guard.
GRANT pg_read_all_stats TO banyan_cdc;
-- ;;
CREATE DATABASE pricing OWNER pricing_owner TEMPLATE template0 ENCODING 'UTF8';
-- ;;
CREATE DATABASE devices OWNER devices_owner TEMPLATE template0 ENCODING 'UTF8';
-- ;;
CREATE DATABASE notifications OWNER notifications_owner TEMPLATE template0 ENCODING 'UTF8';
-- ;;
CREATE DATABASE banyan OWNER banyan_ctl TEMPLATE template0 ENCODING 'UTF8';
-- ;;
