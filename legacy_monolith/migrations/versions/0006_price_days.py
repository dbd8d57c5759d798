"""The summary of a day's prices once a statement and day, no longer once a row."""

from alembic import op

revision = "0006"
down_revision = "0005"

# A statement's trigger sees all rows that it touched, so a day of 24 new prices is counted once instead of 24 times.
# Days are counted in order: two statements that touch the same ones wait for each other instead of for ever.
_BY_STATEMENT = """
    CREATE OR REPLACE FUNCTION price_daily_refresh() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    BEGIN
        IF TG_OP = 'UPDATE' THEN
            PERFORM price_daily_recount(area, day) FROM (
                SELECT area, ts::date AS day FROM was UNION SELECT area, ts::date FROM touched ORDER BY 1, 2
            ) days;
        ELSE
            PERFORM price_daily_recount(area, day) FROM (
                SELECT DISTINCT area, ts::date AS day FROM touched ORDER BY 1, 2
            ) days;
        END IF;
        RETURN NULL;
    END $$
"""
_BY_ROW = """
    CREATE OR REPLACE FUNCTION price_daily_refresh() RETURNS trigger
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
"""
_TRIGGERS = {
    "price_daily_insert": "AFTER INSERT ON price REFERENCING NEW TABLE AS touched",
    "price_daily_update": "AFTER UPDATE ON price REFERENCING OLD TABLE AS was NEW TABLE AS touched",
    "price_daily_delete": "AFTER DELETE ON price REFERENCING OLD TABLE AS touched",
}


def upgrade() -> None:
    enabled = _enabled("price_daily_refresh")
    op.execute("DROP TRIGGER price_daily_refresh ON price")
    op.execute(_BY_STATEMENT)
    for name, when in _TRIGGERS.items():
        op.execute(f"CREATE TRIGGER {name} {when} FOR EACH STATEMENT EXECUTE FUNCTION price_daily_refresh()")
        _enable(name, enabled)


def downgrade() -> None:
    enabled = _enabled("price_daily_insert")
    for name in _TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON price")
    op.execute(_BY_ROW)
    op.execute("""
        CREATE TRIGGER price_daily_refresh AFTER INSERT OR UPDATE OR DELETE ON price
        FOR EACH ROW EXECUTE FUNCTION price_daily_refresh()
    """)
    _enable("price_daily_refresh", enabled)


def _enabled(trigger: str) -> str:
    """`A` where somebody told it to fire for replicated rows too."""
    question = "SELECT tgenabled FROM pg_trigger WHERE tgrelid = 'price'::regclass AND tgname = "
    return str(op.get_bind().exec_driver_sql(f"{question}'{trigger}'").scalar_one())


def _enable(trigger: str, enabled: str) -> None:
    if enabled == "A":
        op.execute(f"ALTER TABLE price ENABLE ALWAYS TRIGGER {trigger}")
