"""A small real server with the pricing contract in memory: misbehaves on request, can be poured into databases."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import psycopg

ZONE = ZoneInfo("Europe/Amsterdam")

LEGACY_TABLES = """
CREATE TABLE tariff (id bigint, code varchar(20));
CREATE TABLE tariff_rate (tariff_id bigint, hour_from smallint, hour_to smallint, price_kwh numeric(10,5));
CREATE TABLE price (area varchar(8), ts timestamp, hour_flag char(1), eur_mwh numeric(10,2));
CREATE TABLE quote (id bigint, client_ref varchar(64), customer_id bigint, tariff_code varchar(20), kwh numeric(12,3),
                    amount_cents int);
"""
SERVICE_TABLES = """
CREATE TABLE tariffs (id bigint, code text);
CREATE TABLE tariff_rates (tariff_id bigint, starts_hour smallint, ends_hour smallint, price_per_kwh numeric(10,5));
CREATE TABLE market_prices (area text, starts_at timestamptz, price numeric(10,2));
CREATE TABLE quotes (id bigint, client_ref text, customer_id bigint, tariff_code text, energy_kwh numeric(12,3),
                     amount numeric(12,2));
"""  # the keys that would refuse a doubled row are left out, so that one can be planted


@dataclass
class Shop:
    """What it holds. `faults` are spent by writes, one each: `busy` answers 503, `cut` does it and says nothing,
    `lost` does it and answers 502, `broken` answers 500 and does nothing, `forgets` answers 2xx and does nothing."""

    quotes: dict[str, dict[str, Any]] = field(default_factory=dict)
    prices: dict[tuple[str, str, str], str] = field(default_factory=dict)
    tariffs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    faults: deque[str] = field(default_factory=deque)
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # method, target, idempotency key
    lock: threading.Lock = field(default_factory=threading.Lock)

    def call(self, method: str, target: str, key: str, body: Any) -> tuple[int, Any]:
        parts = urlsplit(target)
        path, query = parts.path, {name: values[0] for name, values in parse_qs(parts.query).items()}
        match method, path.split("/")[2:]:
            case "GET", ["customers"]:
                return 200, {"customers": [{"id": 11}, {"id": 12}], "next": None}
            case "GET", ["tariffs"]:
                return 200, {"tariffs": [{"code": c, "rates": r} for c, r in self.tariffs.items()]}
            case "GET", ["prices"]:
                found = [
                    {"ts": ts, "hour_flag": flag, "eur_mwh": value}
                    for (area, ts, flag), value in self.prices.items()
                    if area == query["area"] and query["from"] <= ts < query["to"]
                ]
                return 200, {"area": query["area"], "prices": found, "days": []}
            case "GET", ["quotes", number]:
                quote = next((q for q in self.quotes.values() if q["id"] == int(number)), None)
                return (200, quote) if quote else (404, {"error": "no such quote"})
            case "POST", ["quotes"]:
                if key in self.quotes:
                    return 200, self.quotes[key]
                amount = round(float(body["kwh"]) * 30)
                return 201, {"id": len(self.quotes) + 1, "client_ref": key, **body, "amount_cents": amount}
            case "POST", ["prices"]:
                return 200, {"inserted": len(body["prices"]), "updated": 0, "unchanged": 0}
            case "POST", ["tariffs"]:
                return (409, {"error": "exists"}) if body["code"] in self.tariffs else (201, body)
            case "PUT", ["tariffs", _, "rates"]:
                return 200, body
            case ("POST", ["devices", _, "acks"]) | ("GET", [_]):  # an agent's ack, or its schedule
                return 200, {}
        return 404, {"error": "no such call"}

    def keep(self, method: str, target: str, key: str, body: Any, answer: Any) -> None:
        match method, urlsplit(target).path.split("/")[2:]:
            case "POST", ["quotes"]:
                self.quotes[key] = answer
            case "POST", ["prices"]:
                for row in body["prices"]:
                    self.prices[body["area"], row["ts"], row.get("hour_flag", "N")] = row["eur_mwh"]
            case "POST", ["tariffs"]:
                self.tariffs[body["code"]] = body["rates"]
            case "PUT", ["tariffs", code, "rates"]:
                self.tariffs[code] = body["rates"]

    def pour(self, legacy_dsn: str, pricing_dsn: str) -> None:
        """Everything into both databases, each in its own form."""
        with psycopg.connect(legacy_dsn) as legacy, psycopg.connect(pricing_dsn) as service:
            legacy.execute(LEGACY_TABLES)
            service.execute(SERVICE_TABLES)
            for q in self.quotes.values():
                row = [q["id"], q["client_ref"], q["customer_id"], q["tariff_code"], q["kwh"]]
                legacy.execute("INSERT INTO quote VALUES (%s,%s,%s,%s,%s,%s)", [*row, q["amount_cents"]])
                service.execute("INSERT INTO quotes VALUES (%s,%s,%s,%s,%s,%s)", [*row, q["amount_cents"] / 100])
            for (area, ts, flag), value in self.prices.items():
                legacy.execute("INSERT INTO price VALUES (%s,%s,%s,%s)", [area, ts, flag, value])
                at = datetime.fromisoformat(ts).replace(tzinfo=ZONE, fold=int(flag == "B"))
                service.execute("INSERT INTO market_prices VALUES (%s,%s,%s)", [area, at, value])
            for number, (code, rates) in enumerate(self.tariffs.items()):
                legacy.execute("INSERT INTO tariff VALUES (%s,%s)", [number, code])
                service.execute("INSERT INTO tariffs VALUES (%s,%s)", [number, code])
                for r in rates:
                    row = [number, r["hour_from"], r["hour_to"], r["price_kwh"]]
                    legacy.execute("INSERT INTO tariff_rate VALUES (%s,%s,%s,%s)", row)
                    service.execute("INSERT INTO tariff_rates VALUES (%s,%s,%s,%s)", row)


@contextlib.contextmanager
def opened(shop: Shop, port: int = 0) -> Iterator[str]:
    """Serve `shop`; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def handle_any(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body, key = json.loads(raw) if raw else None, self.headers.get("Idempotency-Key", "")
            with shop.lock:
                shop.requests.append((self.command, self.path, key))
                fault = shop.faults.popleft() if shop.faults and self.command != "GET" else ""
                status, answer = shop.call(self.command, self.path, key, body)
                if status < 300 and fault in ("", "cut", "lost"):
                    shop.keep(self.command, self.path, key, body, answer)
            if fault == "cut":
                self.close_connection = True
                return
            if fault == "busy":
                status, answer = 503, {"title": "the wave is moving"}
            if fault == "lost":
                status, answer = 502, {"title": "the server closed the connection"}
            if fault == "broken":
                status, answer = 500, {"error": "oops"}
            self.reply(status, json.dumps(answer).encode())

        do_GET = do_POST = do_PUT = handle_any  # noqa: N815 (the library's names)

        def reply(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Banyan-Route", "domain=pricing; side=service; reason=canary; version=12")
            self.send_header("X-Request-Id", "r-1")
            if status == 503:
                self.send_header("Retry-After", "0.05")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 100  # all clients connect at once

    server = Server(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
