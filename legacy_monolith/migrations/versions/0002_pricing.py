"""Rates, market prices with their daily summary, quotes."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE tariff_rate (
            id        bigserial PRIMARY KEY,
            tariff_id bigint NOT NULL REFERENCES tariff,
            hour_from smallint NOT NULL,
            hour_to   smallint NOT NULL,
            price_kwh numeric(10,5) NOT NULL,
            UNIQUE (tariff_id, hour_from),
            CHECK (0 <= hour_from AND hour_from < hour_to AND hour_to <= 24)
        )
    """)
    op.execute("""
        CREATE TABLE price (
            id        bigserial PRIMARY KEY,
            area      varchar(8) NOT NULL,
            ts        timestamp NOT NULL,
            hour_flag char(1) NOT NULL CHECK (hour_flag IN ('N', 'A', 'B')),
            eur_mwh   numeric(10,2) NOT NULL,
            source    varchar(20) NOT NULL,
            updated   timestamp NOT NULL,
            UNIQUE (area, ts, hour_flag)
        )
    """)
    op.execute("""
        CREATE TABLE price_daily (
            area        varchar(8) NOT NULL,
            day         date NOT NULL,
            min_eur_mwh numeric(10,2) NOT NULL,
            max_eur_mwh numeric(10,2) NOT NULL,
            hours       integer NOT NULL,
            PRIMARY KEY (area, day)
        )
    """)
    op.execute("""
        CREATE TABLE quote (
            id           bigserial PRIMARY KEY,
            client_ref   varchar(64) UNIQUE,
            customer_id  bigint NOT NULL REFERENCES customer,
            tariff_code  varchar(20) NOT NULL,
            kwh          numeric(12,3) NOT NULL,
            amount_cents integer NOT NULL,
            status       char(1) NOT NULL CHECK (status IN ('O', 'X')),
            created      timestamp NOT NULL
        )
    """)
    op.execute("CREATE INDEX quote_customer ON quote (customer_id, id)")
    # A row's trigger runs at the end of its statement, when all rows of a batch are there: each counts its whole day,
    # and most find it counted. The day's row is made and locked first, so that of two transactions the later one sees
    # what the earlier one wrote. SECURITY DEFINER: whoever may write prices need not be allowed to write the summary.
    op.execute("""
        CREATE FUNCTION price_daily_recount(p_area varchar, p_day date) RETURNS void
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        DECLARE
            counted record;
        BEGIN
            INSERT INTO price_daily VALUES (p_area, p_day, 0, 0, 0) ON CONFLICT DO NOTHING;
            PERFORM 1 FROM price_daily WHERE area = p_area AND day = p_day FOR UPDATE;
            SELECT min(eur_mwh) AS low, max(eur_mwh) AS high, count(*)::integer AS hours INTO counted
            FROM price WHERE area = p_area AND ts >= p_day AND ts < p_day + 1;
            IF counted.hours = 0 THEN
                DELETE FROM price_daily WHERE area = p_area AND day = p_day;
            ELSE
                INSERT INTO price_daily AS d VALUES (p_area, p_day, counted.low, counted.high, counted.hours)
                ON CONFLICT (area, day) DO UPDATE
                    SET min_eur_mwh = excluded.min_eur_mwh, max_eur_mwh = excluded.max_eur_mwh, hours = excluded.hours
                    WHERE (d.min_eur_mwh, d.max_eur_mwh, d.hours)
                        IS DISTINCT FROM (excluded.min_eur_mwh, excluded.max_eur_mwh, excluded.hours);
            END IF;
        END $$
    """)
    op.execute("""
        CREATE FUNCTION price_daily_refresh() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
        BEGIN
            IF TG_OP <> 'INSERT' THEN
                PERFORM price_daily_recount(OLD.area, OLD.ts::date);
            END IF;
            IF TG_OP = 'INSERT' OR (TG_OP = 'UPDATE' AND (NEW.area, NEW.ts::date) <> (OLD.area, OLD.ts::date)) THEN
                PERFORM price_daily_recount(NEW.area, NEW.ts::date);
            END IF;
            RETURN NULL;
        END $$
    """)
    op.execute("REVOKE EXECUTE ON FUNCTION price_daily_recount(varchar, date) FROM PUBLIC")
    op.execute("""
        CREATE TRIGGER price_daily_refresh AFTER INSERT OR UPDATE OR DELETE ON price
        FOR EACH ROW EXECUTE FUNCTION price_daily_refresh()
    """)


def downgrade() -> None:
    for table in ("quote", "price_daily", "price", "tariff_rate"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION price_daily_refresh()")
    op.execute("DROP FUNCTION price_daily_recount(varchar, date)")
