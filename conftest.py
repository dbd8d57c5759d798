"""Fixtures that every test of the repository may use."""

pytest_plugins = ["tests.fixtures.servers", "tests.fixtures.kafka"]
