"""What is found of a monolith's schema and code, which part reaches into which, and in what order they may leave."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cdc import mapping as mappings
from migration_plan import plan as plans
from migration_plan.errors import PlanError
from migration_plan.graph import Graph, build, code, holding, order
from migration_plan.graph.catalog import Catalog, Reference, Routine, View
from migration_plan.graph.draw import dot, mermaid
from migration_plan.graph.statements import Names, touches
from migration_plan.plan import Domain, Operation

TABLES = ["public.toy", "public.toy_daily", "public.game", "public.player", "public.score"]
DOMAINS = {
    "toys": Domain("toys", "new", "toys.yaml", (Operation("toys.list", "GET", "/toys/{id}", "read"),)),
    "games": Domain("games", "new", "games.yaml", (Operation("games.list", "GET", "/games", "read"),)),
}
MAPPED = {"public.toy": "toys", "public.game": "games"}
TOYS = '''
"""Not SQL: SELECT FROM player."""
@app.get("/toys/<id:toy_id>")
def toys(): return db.execute(text(f"SELECT * FROM toy t, player p WHERE {more}"))
'''
SCORES = """
class Score(Base):
    __tablename__ = "score"
PAGE = '''
    SELECT s.*
    FROM score s JOIN toy ON true
'''
"""


@pytest.fixture
def monolith(tmp_path: Path) -> Path:
    for name, text in {"toys/views.py": TOYS, "scores/all.py": SCORES, "tests/x.py": SCORES}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_code_that_cannot_be_read_is_not_taken_for_code_that_touches_nothing(monolith: Path) -> None:
    (monolith / "old.py").write_text("print 'of ten years ago'")
    with pytest.raises(PlanError, match=r"old\.py is no Python .* add it to legacy\.ignore"):
        code.read(monolith)
    assert code.read(monolith, ["old.py"])


def found(files: list[code.File] | None = None, **catalog: list) -> Graph:  # type: ignore[type-arg]
    return build(Catalog(TABLES, **catalog), MAPPED, DOMAINS, files or (), "app")


@pytest.mark.parametrize(
    ("statement", "tables", "writes"),
    [
        ("SELECT * FROM toy t, game g JOIN player USING (id)", ["toy", "game", "player"], []),
        ('SELECT 1 FROM "public" . "toy"', ["toy"], []),
        ("INSERT INTO toy SELECT * FROM game ON CONFLICT (id) DO UPDATE SET id = 1", ["toy", "game"], ["toy"]),
        ("UPDATE ONLY toy SET name = 'FROM game' -- JOIN player", ["toy"], ["toy"]),
        ("DELETE FROM toy USING game", ["toy", "game"], ["toy"]),
        ("SELECT extract(hour FROM toy.at) FROM other.toy", [], []),
        ("DECLARE bill game%ROWTYPE; BEGIN TRUNCATE TABLE toy; END", ["toy", "game"], ["toy"]),
    ],
)
def test_tables_are_found_where_sql_has_them(statement: str, tables: list[str], writes: list[str]) -> None:
    seen = list(touches(statement, Names(TABLES)))
    assert [touch.table.removeprefix("public.") for touch in seen] == tables
    assert [touch.table.removeprefix("public.") for touch in seen if touch.writes] == writes


def test_a_foreign_key_between_domains_is_an_edge_and_one_within_is_none() -> None:
    graph = found(
        references=[
            Reference("game_toy", "public.game", "public.toy", "FOREIGN KEY (toy_id) REFERENCES toy(id)"),
            Reference("toy_toy", "public.toy", "public.toy", "FOREIGN KEY (id) REFERENCES toy(id)"),
        ]
    )
    [edge] = graph.edges
    assert (edge.source, edge.target, edge.kind, edge.writes) == ("games", "toys", "foreign key", False)
    assert edge.evidence == ["constraint game_toy of public.game: FOREIGN KEY (toy_id) REFERENCES toy(id)"]


def test_a_trigger_reaches_what_its_functions_call_reaches() -> None:
    graph = found(
        routines=[
            Routine("on_game", "BEGIN PERFORM sum_up(NEW.id); END", ["game_in on public.game"]),
            Routine("sum_up", "BEGIN UPDATE toy SET n = 1; END"),
            Routine("report", "SELECT 1 FROM game a JOIN game b USING (id) JOIN toy USING (id)"),
        ]
    )
    trigger, function = sorted(graph.edges, key=lambda edge: edge.kind, reverse=True)
    assert (trigger.source, trigger.kind, trigger.writes) == ("games", "trigger", True)
    assert trigger.evidence == ["trigger game_in on public.game, through sum_up()"]
    assert (function.source, function.kind, function.evidence) == ("games", "function", ["function report()"])
    assert [edge.target for edge in holding(graph, "games")] == ["toys"], "toys' rows are kept by a trigger on game"


def test_a_view_belongs_to_the_part_whose_tables_it_has_most_of() -> None:
    [edge] = found(views=[View("public.v", "SELECT * FROM game g JOIN game h ON true JOIN toy ON true")]).edges
    assert (edge.source, edge.target, edge.kind) == ("games", "toys", "view")


def test_code_belongs_to_the_domain_whose_routes_it_serves_and_tells_the_line(monolith: Path) -> None:
    graph = found(code.read(monolith, ["tests/*"]))
    edges = {(edge.source, edge.target, edge.table): edge.evidence for edge in graph.edges}
    assert edges == {
        ("toys", "legacy", "public.player"): ["app/toys/views.py:4 (with toy)"],
        ("scores", "toys", "public.toy"): ["app/scores/all.py:6 (with score)"],
    }
    assert next(part for part in graph.parts if part.name == "scores").tables == ["public.score"]


def test_code_that_goes_with_a_domain_by_the_plan_reaches_in_from_nowhere(monolith: Path) -> None:
    domains = {**DOMAINS, "toys": msgspec.structs.replace(DOMAINS["toys"], code=("scores/*",))}
    graph = build(Catalog(TABLES), MAPPED, domains, code.read(monolith, ["tests/*"]), "app")
    assert graph.into("toys") == []


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="say where the monolith's code is with --source"):
        code.read(tmp_path / "nowhere")


def test_the_part_that_nobody_reaches_into_leaves_first() -> None:
    graph = found(references=[Reference("k", "public.game", "public.toy", "")])
    assert [(turn.name, turn.into, turn.out_of) for turn in order(graph)] == [("games", 0, 1), ("toys", 0, 0)]


def test_the_picture_is_told_to_graphviz_and_mermaid() -> None:
    graph = found(references=[Reference("k", "public.game", "public.toy", "")])
    assert '"games" -> "toys" [label="foreign key: toy"];' in dot(graph)
    assert 'p_games -->|"foreign key: toy"| p_toys' in mermaid(graph)


def test_of_the_shipped_monolith_notifications_are_free_and_pricing_is_read_by_billing() -> None:
    plan = plans.load()
    loaded = {name: mappings.load(plan.mapping_path(name)) for name in plan.domains}
    mapped = {table.table("legacy"): name for name, mapping in loaded.items() for table in mapping.own("legacy")}
    assert plan.legacy_source is not None
    files = code.read(plan.legacy_source, plan.legacy_ignore)
    tables = [*mapped, "public.invoice", "public.contract", "public.customer", "public.price_daily"]
    graph = build(Catalog(tables), mapped, plan.domains, files, "legacy_monolith")
    assert graph.into("notifications") == []
    assert {edge.source for edge in graph.into("pricing")} == {"billing", "customers", "cron"}
    assert {edge.source for edge in graph.into("devices")} == {"cron", "auth.py"}
    assert next(turn for turn in order(graph)).name == "notifications"
