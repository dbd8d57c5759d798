"""What the drill moves: a shop from legacy to service, and a desk from service to legacy."""

from __future__ import annotations

# A row's version grows by one with each write. At the other side a trigger, which fires for applied rows too, keeps
# each version that arrives: so a change that came twice, or in the wrong order, leaves a trace.
LEGACY = """
CREATE TABLE item (
    id bigint PRIMARY KEY, code varchar(40) UNIQUE, name text NOT NULL, price_cents int NOT NULL, note text,
    status char(1) NOT NULL DEFAULT 'A', version int NOT NULL);
ALTER TABLE item ALTER note SET STORAGE EXTERNAL;
CREATE TABLE entry (writer int, n int, PRIMARY KEY (writer, n));
CREATE TABLE task (id bigint PRIMARY KEY, title text NOT NULL, body text, done char(1) NOT NULL, version int NOT NULL);
CREATE TABLE task_entry (writer int, n int, PRIMARY KEY (writer, n));
"""
SERVICE = """
CREATE TABLE product (
    id bigint PRIMARY KEY, code text UNIQUE, name text NOT NULL, price numeric(12,2) NOT NULL, note text,
    state text NOT NULL, version int NOT NULL);
CREATE TABLE entries (writer int, n int, PRIMARY KEY (writer, n));
CREATE TABLE ticket (id bigint PRIMARY KEY, title text NOT NULL, body text, state text NOT NULL, version int NOT NULL);
ALTER TABLE ticket ALTER body SET STORAGE EXTERNAL;
CREATE TABLE ticket_entries (writer int, n int, PRIMARY KEY (writer, n));
"""
ARRIVALS = """
CREATE TABLE arrival (at bigserial PRIMARY KEY, id bigint NOT NULL, version int NOT NULL);
CREATE FUNCTION arrived() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO public.arrival (id, version) VALUES (NEW.id, NEW.version); RETURN NEW; END';
CREATE TRIGGER arrived AFTER INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION arrived();
ALTER TABLE {table} ENABLE ALWAYS TRIGGER arrived;
"""

SHOP = """
domain: shop
tables:
  - legacy: public.item
    service: public.product
    key: {legacy: [id], service: [id]}
    bucket_key: {legacy: id, service: id}
    columns:
      - id
      - code
      - name
      - {legacy: price_cents, service: price, convert: cents}
      - note
      - {legacy: status, service: state, convert: enum, values: {A: active, I: inactive}}
      - version
  - legacy: public.entry
    service: public.entries
    key: {legacy: [writer, n], service: [writer, n]}
    bucket_key: {legacy: writer, service: writer}
    columns: [writer, n]
"""
DESK = """
domain: desk
tables:
  - legacy: public.task
    service: public.ticket
    key: {legacy: [id], service: [id]}
    bucket_key: {legacy: id, service: id}
    columns:
      - id
      - title
      - body
      - {legacy: done, service: state, convert: enum, values: {N: open, Y: closed}}
      - version
  - legacy: public.task_entry
    service: public.ticket_entries
    key: {legacy: [writer, n], service: [writer, n]}
    bucket_key: {legacy: writer, service: writer}
    columns: [writer, n]
"""

# The same rows in the same words from both sides: an independent compare, in SQL of its own.
COMPARED = {
    "shop items": (
        "SELECT id, code, name, price_cents, note, CASE status WHEN 'A' THEN 'active' ELSE 'inactive' END, version"
        " FROM item ORDER BY id",
        "SELECT id, code, name, (price * 100)::int, note, state, version FROM product ORDER BY id",
    ),
    "shop entries": (
        "SELECT writer, n FROM entry ORDER BY writer, n",
        "SELECT writer, n FROM entries ORDER BY writer, n",
    ),
    "desk tickets": (
        "SELECT id, title, body, CASE done WHEN 'N' THEN 'open' ELSE 'closed' END, version FROM task ORDER BY id",
        "SELECT id, title, body, state, version FROM ticket ORDER BY id",
    ),
    "desk entries": (
        "SELECT writer, n FROM task_entry ORDER BY writer, n",
        "SELECT writer, n FROM ticket_entries ORDER BY writer, n",
    ),
}
# A version that does not exceed the one before it came twice, or too late.
DOUBLED = """
SELECT count(*) FROM (SELECT version, lag(version) OVER (PARTITION BY id ORDER BY at) AS before FROM arrival) a
 WHERE version <= before
"""
