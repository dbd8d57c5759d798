-- After a statement, by its transition tables: the side must own the waves of the rows that were touched. Arguments as banyan.guard().
-- One function per name of a key column ({key} below), so that its queries are planned once and not for each statement.
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    touched integer[];
    held    banyan.ownership;
BEGIN
    IF pg_replication_origin_session_is_setup() THEN
        IF current_setting('application_name') NOT LIKE 'banyan-%' THEN
            PERFORM banyan.witness(TG_ARGV[0], TG_ARGV[1], format('%I.%I', TG_TABLE_SCHEMA, TG_TABLE_NAME));
        END IF;
        RETURN NULL;
    END IF;
    IF coalesce(current_setting('banyan.rehearsal', true), '') = 'on' AND banyan.rehearses() THEN
        RETURN NULL;
    END IF;
    CASE TG_OP
        WHEN 'INSERT' THEN
            touched := ARRAY(
                SELECT DISTINCT o.wave FROM (SELECT DISTINCT banyan.bucket({key}::text) AS b FROM new_rows) k
                  LEFT JOIN banyan.ownership o ON o.domain = TG_ARGV[0] AND k.b >= o.bucket_from AND k.b < o.bucket_to);
        ELSE
            -- An update leaves a row in its bucket (banyan.guard_key), so where it was is where it is.
            touched := ARRAY(
                SELECT DISTINCT o.wave FROM (SELECT DISTINCT banyan.bucket({key}::text) AS b FROM old_rows) k
                  LEFT JOIN banyan.ownership o ON o.domain = TG_ARGV[0] AND k.b >= o.bucket_from AND k.b < o.bucket_to);
    END CASE;
    IF cardinality(touched) = 0 THEN
        RETURN NULL;  -- no row was touched
    END IF;
    IF cardinality(touched) = 1 THEN  -- nearly always; as in banyan.guard()
        SELECT * INTO held FROM banyan.ownership o WHERE o.domain = TG_ARGV[0] AND o.wave = touched[1] LIMIT 1 FOR SHARE;
        IF held.owner = TG_ARGV[1] THEN
            RETURN NULL;
        END IF;
    END IF;
    PERFORM banyan.require(TG_ARGV[0], TG_ARGV[1], touched);
    RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION {function}() FROM PUBLIC;
