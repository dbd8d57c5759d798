-- What the source bears, for whoever throttles by it. The role banyan_cdc sees figures, never other sessions' queries.
CREATE SCHEMA IF NOT EXISTS banyan;

CREATE OR REPLACE FUNCTION banyan.source_load(
    OUT active integer, OUT standby_lag_s double precision, OUT retained_bytes bigint, OUT keep_bytes bigint
) LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT (SELECT count(*)::integer FROM pg_stat_activity
             WHERE backend_type = 'client backend' AND state = 'active' AND application_name NOT LIKE 'banyan-%'),
           (SELECT coalesce(extract(epoch FROM max(replay_lag)), 0)::double precision FROM pg_stat_replication
             WHERE application_name NOT LIKE 'banyan-%'),
           (SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)), 0)::bigint
              FROM pg_replication_slots WHERE wal_status IS DISTINCT FROM 'lost'),
           (SELECT CASE WHEN setting::bigint >= 0 THEN setting::bigint * 1024 * 1024 END
              FROM pg_settings WHERE name = 'max_slot_wal_keep_size')
$$;
REVOKE ALL ON FUNCTION banyan.source_load() FROM PUBLIC;
