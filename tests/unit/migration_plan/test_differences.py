"""In what two plans differ, by path."""

from __future__ import annotations

from migration_plan.differences import differences


def told(before: object, after: object) -> list[dict[str, object]]:
    return [one.plain() for one in differences(before, after)]


def test_alike_is_nothing() -> None:
    assert told({"a": [1, {"id": "x"}]}, {"a": [1, {"id": "x"}]}) == []


def test_a_value_is_told_by_its_path() -> None:
    assert told({"d": {"toys": {"steps": [10, 50]}}}, {"d": {"toys": {"steps": [5, 50]}}}) == [
        {"path": "d.toys.steps", "kind": "changed", "before": [10, 50], "after": [5, 50]}
    ]


def test_what_only_one_has_is_added_or_removed_and_null_is_a_value() -> None:
    assert told({"a": None}, {"b": 1}) == [
        {"path": "a", "kind": "removed", "before": None},
        {"path": "b", "kind": "added", "after": 1},
    ]


def test_operations_are_told_by_their_id_wherever_they_stand() -> None:
    before = {"operations": [{"id": "a", "path": "/a"}, {"id": "b", "path": "/b"}]}
    after = {"operations": [{"id": "b", "path": "/c"}, {"id": "a", "path": "/a"}]}
    assert told(before, after) == [{"path": "operations[b].path", "kind": "changed", "before": "/b", "after": "/c"}]


def test_waves_of_a_plan_are_told_by_their_place() -> None:
    [found] = told({"waves": [{"from": 0}, {"from": 8}]}, {"waves": [{"from": 0}, {"from": 9}]})
    assert found["path"] == "waves[1].from"
