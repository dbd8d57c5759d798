-- Before a row: an id that the database drew for it must be of a wave that this side owns, or nobody could register
-- anything while waves of one domain have different owners. Arguments as banyan.guard(), then the key's sequence. An id
-- that the statement brings is left alone, and so is one of a side that owns nothing: the guard says whose they are.
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    b integer;
BEGIN
    BEGIN
        IF NEW.{key} IS DISTINCT FROM currval(TG_ARGV[3]::regclass) THEN
            RETURN NEW;
        END IF;
    EXCEPTION WHEN object_not_in_prerequisite_state THEN
        RETURN NEW;  -- this session has drawn nothing
    END;
    IF NOT EXISTS (SELECT FROM banyan.ownership o WHERE o.domain = TG_ARGV[0] AND o.owner = TG_ARGV[1]) THEN
        RETURN NEW;
    END IF;
    -- One wave in a hundred buckets is found after a hundred draws; after so many without any, something is wrong.
    FOR n IN 1..100000 LOOP
        b := banyan.bucket(NEW.{key}::text);
        EXIT WHEN EXISTS (
            SELECT FROM banyan.ownership o
             WHERE o.domain = TG_ARGV[0] AND o.owner = TG_ARGV[1] AND b >= o.bucket_from AND b < o.bucket_to);
        NEW.{key} := nextval(TG_ARGV[3]::regclass);
    END LOOP;
    RETURN NEW;
END $$;

REVOKE ALL ON FUNCTION {function}() FROM PUBLIC;
