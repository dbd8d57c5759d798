"""Bootstrap files are split at their separator lines and nowhere else."""

from banyan.stack.databases import statements


def test_statements_are_split_at_separator_lines_only():
    text = "DO $$ BEGIN\n  PERFORM 1; -- ;; not here\nEND $$;\n-- ;;\nCREATE DATABASE x;\n-- ;;\n"
    assert statements(text) == ["DO $$ BEGIN\n  PERFORM 1; -- ;; not here\nEND $$;", "CREATE DATABASE x;"]
