"""The rows of `banyan gateway tail`."""

from __future__ import annotations

from typing import Any

from banyan.commands.tail_view import printable, row, summary

LINE: dict[str, Any] = {
    "at": 1795796866.771, "method": "GET", "path": "/items/0", "status": 200, "ms": 0.88, "domain": "shop",
    "operation": "items.get", "side": "legacy", "reason": "phase", "upstream": "127.0.0.1:39845", "attempts": 1,
}  # fmt: skip


def test_a_row_has_what_was_decided():
    words = row(LINE).plain.split()
    assert words[1:] == ["GET", "/items/0", "200", "0.9", "ms", "shop", "legacy", "phase", "127.0.0.1:39845"]


def test_rows_of_a_terminal_fit_and_line_up():
    rows = [row({**LINE, "path": path, "ms": ms}, 160).plain for path, ms in (("/", 1), ("/x" * 200, 99_999))]
    assert all(len(text) <= 160 for text in rows)
    assert rows[0].index("shop") == rows[1].index("shop")
    assert "…" in rows[1]


def test_nothing_is_cut_in_a_pipe():
    assert "/x" * 200 in row({**LINE, "path": "/x" * 200}).plain


def test_attempts_are_told_when_there_was_more_than_one():
    assert "×" not in row(LINE).plain
    assert row({**LINE, "attempts": 3}).plain.endswith("×3")


def test_a_client_that_left_has_no_status():
    assert "left" in row({**LINE, "status": 0}).plain.split()


def test_a_path_cannot_command_the_terminal():
    assert printable("/a\x9b31m\x1b[2J") == "/a\\x9b31m\\x1b[2J"
    assert "\x9b" not in row({**LINE, "path": "/\x9b"}).plain


def test_the_summary_tells_only_what_there_was():
    assert summary(1, 0, 0, 2.04) == "1 request in 2.0 s"
    assert summary(40, 2, 7, 1).startswith("40 requests in 1.0 s; 2 failed; 7 not shown")
