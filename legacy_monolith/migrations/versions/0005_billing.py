"""Invoices, and the half of billing that lives in the database."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute("""
        CREATE TABLE invoice (
            id          bigserial PRIMARY KEY,
            number      varchar(30) NOT NULL UNIQUE,
            customer_id bigint NOT NULL REFERENCES customer,
            contract_id bigint NOT NULL REFERENCES contract,
            tariff_id   bigint NOT NULL REFERENCES tariff,
            area        varchar(8) NOT NULL,
            month       char(7) NOT NULL,
            net_cents   integer NOT NULL,
            vat_cents   integer NOT NULL,
            total_cents integer NOT NULL,
            created     timestamp NOT NULL,
            UNIQUE (contract_id, month)
        )
    """)
    op.execute("CREATE INDEX invoice_customer ON invoice (customer_id, month)")
    op.execute("CREATE INDEX invoice_tariff ON invoice (tariff_id)")
    op.execute("""
        CREATE TABLE invoice_line (
            id           bigserial PRIMARY KEY,
            invoice_id   bigint NOT NULL REFERENCES invoice,
            line_no      smallint NOT NULL,
            kind         char(1) NOT NULL CHECK (kind IN ('E', 'S', 'V')),
            meter_id     bigint REFERENCES meter,
            day_from     date NOT NULL,
            day_to       date NOT NULL,
            description  varchar(100) NOT NULL,
            kwh          numeric(14,3),
            amount       numeric(14,5) NOT NULL,
            amount_cents integer NOT NULL,
            UNIQUE (invoice_id, line_no)
        )
    """)
    # An hour that the exchange never published costs the middle of its day. No price that day, or no rate for the hour:
    # nothing is guessed, SQLSTATE BL422. Multiplied, never divided: a product of numerics is exact.
    op.execute("""
        CREATE FUNCTION billing_amount(p_meter bigint, p_tariff bigint, p_area varchar, p_from date, p_to date)
        RETURNS numeric LANGUAGE plpgsql STABLE AS $$
        DECLARE
            dynamic boolean;
            total   numeric;
            missing timestamp;
        BEGIN
            SELECT kind = 'D' INTO STRICT dynamic FROM tariff WHERE id = p_tariff;
            IF dynamic THEN
                SELECT sum(r.kwh * coalesce(p.eur_mwh, (d.min_eur_mwh + d.max_eur_mwh) * 0.5) * 0.001),
                       min(r.ts) FILTER (WHERE p.id IS NULL AND d.day IS NULL)
                INTO total, missing
                FROM reading r
                LEFT JOIN price p ON p.area = p_area AND p.ts = r.ts AND p.hour_flag = r.hour_flag
                LEFT JOIN price_daily d ON d.area = p_area AND d.day = r.ts::date
                WHERE r.meter_id = p_meter AND r.ts >= p_from AND r.ts < p_to;
            ELSE
                SELECT sum(r.kwh * t.price_kwh), min(r.ts) FILTER (WHERE t.id IS NULL)
                INTO total, missing
                FROM reading r
                LEFT JOIN tariff_rate t ON t.tariff_id = p_tariff
                    AND extract(hour FROM r.ts) >= t.hour_from AND extract(hour FROM r.ts) < t.hour_to
                WHERE r.meter_id = p_meter AND r.ts >= p_from AND r.ts < p_to;
            END IF;
            IF missing IS NOT NULL THEN
                RAISE EXCEPTION 'no price for meter % at %', p_meter, to_char(missing, 'YYYY-MM-DD"T"HH24:MI:SS')
                    USING ERRCODE = 'BL422';
            END IF;
            RETURN coalesce(total, 0);
        END $$
    """)
    op.execute("""
        CREATE FUNCTION invoice_line_fill() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            bill   invoice%ROWTYPE;
            terms  tariff%ROWTYPE;
            exact  numeric;
        BEGIN
            SELECT * INTO STRICT bill FROM invoice WHERE id = NEW.invoice_id;
            SELECT * INTO STRICT terms FROM tariff WHERE id = bill.tariff_id;
            IF NEW.kind = 'E' THEN
                SELECT coalesce(sum(kwh), 0) INTO NEW.kwh FROM reading
                WHERE meter_id = NEW.meter_id AND ts >= NEW.day_from AND ts < NEW.day_to;
                exact := billing_amount(NEW.meter_id, terms.id, bill.area, NEW.day_from, NEW.day_to);
            ELSIF NEW.kind = 'S' THEN
                exact := (NEW.day_to - NEW.day_from) * terms.standing_cents * 0.01;
            ELSE
                SELECT coalesce(sum(amount_cents), 0) * terms.vat_pct * 0.0001 INTO exact
                FROM invoice_line WHERE invoice_id = NEW.invoice_id AND kind <> 'V';
            END IF;
            NEW.amount := exact;
            NEW.amount_cents := round(exact * 100);
            RETURN NEW;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER invoice_line_fill BEFORE INSERT ON invoice_line
        FOR EACH ROW EXECUTE FUNCTION invoice_line_fill()
    """)


def downgrade() -> None:
    op.execute("DROP TABLE invoice_line")
    op.execute("DROP TABLE invoice")
    op.execute("DROP FUNCTION invoice_line_fill()")
    op.execute("DROP FUNCTION billing_amount(bigint, bigint, varchar, date, date)")
