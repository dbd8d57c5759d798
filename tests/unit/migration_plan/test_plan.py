"""What a plan may say, and how it is told where it is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from gateway.control.comparison import Comparison, Thresholds, Tolerance, Unordered
from gateway.control.table import Condition, decode_table, encode_table
from migration_plan import plan as plans
from migration_plan.approval import require_approver, who_may
from migration_plan.compile import compile_domain, compile_table
from migration_plan.errors import NameUnknown, NotApproved, PlanInvalid
from migration_plan.schema import PUBLISHED, schema

TOY = """\
legacy: {database: old, upstream: legacy}
databases:
  old: {control: OLD_DSN, owner: OLD_OWNER_DSN, capture: OLD_CDC_DSN}
  new: {control: NEW_DSN, owner: NEW_OWNER_DSN, capture: NEW_CDC_DSN}
upstreams:
  legacy: {url: OLD_URL, health: /health}
  toys: {url: NEW_URL, health: /readyz}
domains:
  toys:
    upstream: toys
    database: new
    mapping: toys.yaml
    waves: [{bucket_from: 0, bucket_to: 1024}]
    operations:
      - {id: toys.get, method: GET, path: "/toys/{id}", kind: read, key: ["path:id"]}
      - {id: toys.put, method: PUT, path: "/toys/{id}", kind: write, key: ["path:id"]}
"""


MAPPING = """\
domain: toys
tables:
  - legacy: public.toy
    service: public.toys
    key: {legacy: [id], service: [id]}
    bucket_key: {legacy: id, service: id}
    columns: [id, name]
"""


def problems(folder: Path, text: str = TOY, **replaced: str) -> list[str]:
    """What the linter says of the toy plan after `old` was replaced by `new`, without the columns."""
    found = placed_problems(folder, text, **replaced)
    return [re.sub(r"^(plan\.yaml:\d+):\d+: ", r"\1: ", problem) for problem in found]


def placed_problems(folder: Path, text: str = TOY, **replaced: str) -> list[str]:
    if replaced:
        assert replaced["old"] in text
        text = text.replace(replaced["old"], replaced["new"])
    path = folder / "plan.yaml"
    path.write_text(text)
    (folder / "toys.yaml").write_text(MAPPING)
    with pytest.raises(PlanInvalid) as caught:
        plans.load(path)
    return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]


def test_the_shipped_plan_is_sound() -> None:
    plan = plans.load(mappings=False)
    assert list(plan.domains) == ["pricing", "devices", "notifications"]
    assert plan.domain("pricing").budgets.pause_ms == 1000


def test_the_toy_plan_is_sound(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(TOY)
    (tmp_path / "toys.yaml").write_text(MAPPING)
    plan = plans.load(tmp_path / "plan.yaml")
    assert plan.mapping_path("toys") == tmp_path / "toys.yaml"
    assert plan.database_of("toys", "service").control == "NEW_DSN"


def test_a_problem_is_told_with_line_and_column(tmp_path: Path) -> None:
    [problem] = placed_problems(tmp_path, old="kind: write, key:", new="kind: write, keys:")
    column = TOY.splitlines()[15].index("key:") + 1
    assert problem.startswith(f"plan.yaml:16:{column}: unknown key 'keys'")
    [broken] = placed_problems(tmp_path, old="legacy: {database: old,", new="legacy: {database: old}}")
    assert broken.startswith("plan.yaml:1:24: not YAML: ")


def test_the_published_schema_is_that_of_the_code() -> None:
    assert PUBLISHED.read_bytes() == schema(), "write it anew: banyan plan schema > migration_plan/plan.schema.json"


def test_the_published_schema_takes_the_shipped_plan_and_no_unknown_key() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed here")
    data = yaml.safe_load(plans.SHIPPED.read_text())
    validator = jsonschema.Draft202012Validator(json.loads(PUBLISHED.read_text()))
    assert list(validator.iter_errors(data)) == []
    data["domains"]["pricing"]["color"] = "red"
    assert "color" in next(validator.iter_errors(data)).message


ROLES = TOY + "roles: {operators: [ann, '*@ops']}\n"


def approved(folder: Path, approvers: str) -> plans.Plan:
    text = ROLES.replace("    mapping: toys.yaml\n", f"    mapping: toys.yaml\n    approvers: {approvers}\n")
    (folder / "plan.yaml").write_text(text)
    (folder / "toys.yaml").write_text(MAPPING)
    return plans.load(folder / "plan.yaml")


def test_a_plan_names_who_may_take_a_step_by_name_pattern_and_role(tmp_path: Path) -> None:
    plan = approved(tmp_path, "[bob, role:operators]")
    assert who_may(plan, "toys") == ("bob", "ann", "*@ops")
    for actor in ("bob", "ann", "eve@ops"):
        require_approver(plan, "toys", "switch", actor)
    with pytest.raises(NotApproved, match=r"carl may not switch toys; the plan's approvers are: bob, ann, \*@ops"):
        require_approver(plan, "toys", "switch", "carl")


def test_where_the_plan_names_nobody_everybody_may(tmp_path: Path) -> None:
    require_approver(approved(tmp_path, "[]"), "toys", "switch", "carl")


def test_a_role_that_the_plan_does_not_have_is_told(tmp_path: Path) -> None:
    [problem] = problems(
        tmp_path, ROLES, old="    mapping: toys.yaml\n", new="    mapping: toys.yaml\n    approvers: [role:bosses]\n"
    )
    assert problem == "plan.yaml:13: toys names the role 'bosses'; there are: operators; write it into roles"


def test_an_unknown_key_is_named_with_its_line_and_the_known_ones(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, old="    mapping: toys.yaml\n", new="    mapping: toys.yaml\n    color: red\n")
    assert problem.startswith("plan.yaml:13: unknown key 'color' in domains.toys; known keys: upstream, database")


def test_an_unknown_key_deep_in_a_list_is_named_with_its_line(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, old="kind: write, key:", new="kind: write, keys:")
    assert problem.startswith("plan.yaml:16: unknown key 'keys' in domains.toys.operations[1]; known keys: id, method")


def test_an_unknown_section_is_named(tmp_path: Path) -> None:
    found = problems(tmp_path, TOY + "extras: {}\n")
    assert found == [
        "plan.yaml:17: unknown key 'extras'; known keys: legacy, databases, upstreams, domains, facade, auth, roles"
    ]


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, old="    mapping: toys.yaml\n", new="    mapping: toys.yaml\n    mapping: b.yaml\n")
    assert problem == "plan.yaml:13: domains.toys.mapping stands here a second time (first on line 12); keep one"


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, old="    database: new\n", new="")
    assert problem == "plan.yaml:9: domains.toys lacks the key 'database'"


def test_a_wrong_type_is_named(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, old="bucket_to: 1024", new="bucket_to: many")
    assert problem == "plan.yaml:13: domains.toys.waves[0].bucket_to: expected `int`, got `str`"


def test_an_unknown_kind_of_operation_is_refused(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, old="kind: write", new="kind: scribble")
    assert problem.startswith("plan.yaml:16: domains.toys.operations[1].kind: invalid enum value 'scribble'")


def test_an_unknown_database_names_the_known_ones(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, old="database: new", new="database: newer")
    assert problem == "plan.yaml:11: no database 'newer'; there are: old, new"


def test_overlapping_routes_name_each_other(tmp_path: Path) -> None:
    more = '      - {id: toys.read, method: GET, path: "/toys/{name}", kind: read}\n'
    [problem] = problems(tmp_path, TOY + more)
    assert problem == (
        "plan.yaml:17: GET /toys/{name} of toys.read overlaps GET /toys/{id} of toys.get (line 15); keep one"
    )


RULES = """\
    shadow_writes: 5
    shadow_noise: 10
    gates: {shadow_relative_percent: 30, shadow_absolute_percent: 0.1}
    compare:
      ignore: ["$.id"]
      unordered: [{path: "$.parts", key: name}]
"""
OPERATION_RULES = ', compare: {tolerances: [{path: "$.price", absolute: 0.01}]}}'


def test_rules_for_comparing_reach_the_gateway(tmp_path: Path) -> None:
    text = TOY.replace("    operations:\n", RULES + "    operations:\n").replace(
        '["path:id"]}', f'["path:id"]{OPERATION_RULES}', 1
    )
    (tmp_path / "plan.yaml").write_text(text.replace("health: /readyz}", "health: /readyz, rehearses: true}"))
    (tmp_path / "toys.yaml").write_text(MAPPING)
    plan = plans.load(tmp_path / "plan.yaml")
    table = compile_table(plan, {}, {}, 1, {"OLD_URL": "http://127.0.0.1:1", "NEW_URL": "http://127.0.0.1:2"})
    domain = table.domains["toys"]
    assert (domain.shadow_percent, domain.shadow_writes, domain.shadow_noise) == (100, 5, 10)
    assert domain.thresholds == Thresholds(relative=30, absolute=0.1)
    assert domain.compare == Comparison(ignore=("$.id",), unordered=(Unordered("$.parts", "name"),))
    assert domain.operations[0].compare.tolerances == (Tolerance("$.price", absolute=0.01),)
    assert decode_table(encode_table(table)) == table


def test_bad_rules_for_comparing_are_named_with_their_lines(tmp_path: Path) -> None:
    text = TOY.replace("    operations:\n", RULES.replace("$.id", "id") + "    operations:\n")
    text = text.replace('["path:id"]}', '["path:id"], compare: {headers: ["Set-Cookie"]}}', 1)
    path, writes, header = problems(tmp_path, text)
    assert path == "plan.yaml:18: 'id' is not a path like $.items[*].price"
    assert header.startswith("plan.yaml:14: toys would do each of these writes a second time")
    assert writes.startswith("plan.yaml:21: Set-Cookie is a secret")
    [unknown] = problems(tmp_path, TOY.replace("    operations:\n", "    compare: {ignored: []}\n    operations:\n"))
    assert unknown.startswith("plan.yaml:14: unknown key 'ignored' in domains.toys.compare; known keys: ignore, toler")


def conditional(name: str, condition: str) -> str:
    return f'      - {{id: toys.{name}, method: GET, path: "/toys/{{id}}", kind: read, when: [{condition}]}}\n'


def test_operations_may_differ_by_a_condition(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(TOY + conditional("beta", '{source: "header:x-beta", exact: "1"}'))
    (tmp_path / "toys.yaml").write_text(MAPPING)
    plan = plans.load(tmp_path / "plan.yaml")
    assert plan.domain("toys").operations[2].when == (plans.Condition("header:x-beta", exact="1"),)
    environment = {"OLD_URL": "http://127.0.0.1:1", "NEW_URL": "http://127.0.0.1:2"}
    table = compile_table(plan, {}, {}, 1, environment)
    assert table.domains["toys"].operations[2].when == [Condition("header:x-beta", exact="1")]


def test_conditions_without_an_order_name_both_operations_and_both_lines(tmp_path: Path) -> None:
    first = conditional("a", '{source: "header:a", present: true}')
    other = conditional("b", '{source: "query:b", present: true}')
    [problem] = problems(tmp_path, TOY + first + other)
    assert problem == (
        "plan.yaml:18: GET /toys/{id} of toys.b overlaps GET /toys/{id} of toys.a (line 17)"
        " (the conditions of neither include the other's); keep one"
    )


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        ('{source: "header:a", exakt: "1"}', "unknown key 'exakt'"),
        ('{source: "cookie:a", exact: "1"}', "when[0].source: expected `str` matching regex"),
        ('{source: "header:a"}', "toys.beta: condition on 'header:a' needs one of exact, prefix and present"),
    ],
)
def test_a_wrong_condition_is_told_with_its_line(tmp_path: Path, condition: str, problem: str) -> None:
    [found] = problems(tmp_path, TOY + conditional("beta", condition))
    assert found.startswith("plan.yaml:17: ")
    assert problem in found


def test_an_operation_id_is_used_once(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, TOY + "      - {id: toys.get, method: GET, path: /games, kind: read}\n")
    assert problem == "plan.yaml:17: the operation id toys.get is taken (line 15); ids are unique in a plan"


def test_a_gap_between_waves_is_refused(tmp_path: Path) -> None:
    [problem] = problems(
        tmp_path,
        old="    waves: [{bucket_from: 0, bucket_to: 1024}]\n",
        new="    waves:\n      - {bucket_from: 0, bucket_to: 10}\n      - {bucket_from: 12, bucket_to: 1024}\n",
    )
    assert problem == "plan.yaml:14: buckets 10 to 12 of toys are in no wave; waves follow each other up to 1024"


def test_waves_that_overlap_or_end_early_are_refused(tmp_path: Path) -> None:
    overlap, short = problems(
        tmp_path,
        old="    waves: [{bucket_from: 0, bucket_to: 1024}]\n",
        new="    waves:\n      - {bucket_from: 0, bucket_to: 10}\n      - {bucket_from: 8, bucket_to: 1000}\n",
    )
    assert overlap == "plan.yaml:14: waves 0 and 1 of toys overlap from bucket 8; end wave 0 there"
    assert short.startswith("plan.yaml:15: buckets 1000 to 1024 of toys are in no wave")


def test_a_write_without_a_key_needs_a_domain_with_one_wave(tmp_path: Path) -> None:
    split = TOY.replace(
        "    waves: [{bucket_from: 0, bucket_to: 1024}]\n",
        "    waves: [{bucket_from: 0, bucket_to: 10}, {bucket_from: 10, bucket_to: 1024}]\n",
    )
    new = "      - {id: toys.new, method: POST, path: /toys, kind: write}\n"
    [problem] = problems(tmp_path, split + new)
    assert problem == (
        "plan.yaml:17: toys.new writes without a key, but toys has 2 waves; give it a key, or toys one wave, or say"
        " what it does `without_key` (docs/plan.md)"
    )
    (tmp_path / "plan.yaml").write_text(split + new.replace("write}", "write, without_key: draws}"))
    assert len(plans.load(tmp_path / "plan.yaml").domain("toys").waves) == 2


def test_what_is_done_without_a_key_is_said_of_writes_without_one(tmp_path: Path) -> None:
    keyed = 'kind: write, key: ["path:id"]'
    [problem] = problems(tmp_path, old=keyed, new=f"{keyed}, without_key: draws")
    assert problem.endswith(": `without_key` is for writes that have no key")


def test_a_key_must_name_a_parameter_of_its_path(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, old='kind: write, key: ["path:id"]', new='kind: write, key: ["path:toy"]')
    assert problem == "plan.yaml:16: toys.put takes its key from path:toy, but /toys/{id} has no {toy}"


def test_a_missing_mapping_file_is_named(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, old="mapping: toys.yaml", new="mapping: games.yaml")
    assert problem.startswith("plan.yaml:12: no mapping file ")
    assert "games.yaml; write it" in problem


def test_a_mapping_of_another_domain_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(TOY)
    (tmp_path / "toys.yaml").write_text(MAPPING.replace("domain: toys", "domain: games"))
    with pytest.raises(PlanInvalid, match=r"plan.yaml:12:5: .*toys.yaml maps domain 'games', not toys"):
        plans.load(path)


def test_a_fault_in_a_mapping_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(TOY)
    (tmp_path / "toys.yaml").write_text(MAPPING.replace("columns:", "colums:"))
    with pytest.raises(PlanInvalid, match=r"toys.yaml:\d+: .*colums"):
        plans.load(path)


def test_canary_steps_must_grow(tmp_path: Path) -> None:
    [problem] = problems(
        tmp_path, old="    mapping: toys.yaml\n", new="    mapping: toys.yaml\n    canary_steps: [50, 10]\n"
    )
    assert problem == "plan.yaml:13: the canary steps of toys must grow: [50, 10]"


def test_what_is_not_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    [problem] = problems(tmp_path, "legacy: {database: old\ndomains: [")
    assert problem.startswith("plan.yaml:2: not YAML: ")


def test_a_missing_file_says_which_variable_names_it(tmp_path: Path) -> None:
    with pytest.raises(PlanInvalid, match="set BANYAN_PLAN"):
        plans.load(tmp_path / "none.yaml")


def test_an_unknown_domain_names_the_known_ones() -> None:
    with pytest.raises(NameUnknown, match=r"no domain 'prices' in the plan; it has: pricing, devices, notifications"):
        plans.load(mappings=False).domain("prices")


RESILIENCE = """\
    bulkhead: {in_flight: 64, waiting: 512}
    breaker: {failures: 8, failure_percent: 30, probes: 3}
    retry_percent: 10
"""


def test_what_the_plan_says_of_resilience_is_in_the_table(tmp_path: Path) -> None:
    text = TOY.replace("    mapping: toys.yaml\n", "    mapping: toys.yaml\n" + RESILIENCE)
    text = text.replace('kind: read, key: ["path:id"]}', 'kind: read, key: ["path:id"], timeout: 60, try_timeout: 2}')
    path = tmp_path / "plan.yaml"
    path.write_text(text)
    (tmp_path / "toys.yaml").write_text(MAPPING)
    domain = compile_domain(plans.load(path), "toys", {}, {})
    assert domain.bulkhead is not None
    assert (domain.bulkhead.in_flight, domain.bulkhead.waiting, domain.retry_percent) == (64, 512, 10)
    assert domain.breaker is not None
    assert (domain.breaker.failures, domain.breaker.failure_percent, domain.breaker.probes) == (8, 30, 3)
    assert [(op.timeout, op.try_timeout) for op in domain.operations] == [(60, 2), (None, None)]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("    mapping: toys.yaml", "    mapping: toys.yaml\n    bulkhead: {in_flight: 0}", "in_flight"),
        ("    mapping: toys.yaml", "    mapping: toys.yaml\n    breaker: {failurs: 3}", "unknown key 'failurs'"),
        ("    mapping: toys.yaml", "    mapping: toys.yaml\n    retry_percent: 101", "retry_percent"),
        ('kind: read, key: ["path:id"]}', "kind: read, timeout: 1, try_timeout: 2}", "must be below timeout"),
        ('method: PUT, path: "/toys/{id}"', 'method: PATCH, try_timeout: 2, path: "/toys/{id}"', "neither a read nor"),
        ('method: PUT, path: "/toys/{id}"', 'method: PUT, try_timeout: 2, path: "/toys/{id}"', "neither a read nor"),
    ],
)
def test_a_mistake_in_resilience_is_told_with_its_line(tmp_path: Path, old: str, new: str, problem: str) -> None:
    (found,) = problems(tmp_path, old=old, new=new)
    assert found.startswith("plan.yaml:")
    assert problem in found


TLS = "health: /readyz, ca: /etc/ca.pem, certificate: /etc/own.pem, server_name: shop.internal}"


def test_tls_to_an_upstream_reaches_the_table(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(TOY.replace("health: /readyz}", TLS))
    (tmp_path / "toys.yaml").write_text(MAPPING)
    plan = plans.load(tmp_path / "plan.yaml")
    urls = {upstream.url: "https://127.0.0.1:1" for upstream in plan.upstreams.values()}
    found = compile_table(plan, {}, {}, 1, urls).upstreams.values()
    assert ("/etc/ca.pem", "/etc/own.pem", "shop.internal") in [(u.ca, u.certificate, u.server_name) for u in found]


def test_a_tls_file_without_an_absolute_path_is_told_with_its_line(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, TOY.replace("health: /readyz}", "health: /readyz, ca: ca.pem}"))
    assert "ca" in told
    assert any(part.isdigit() for part in told.replace(":", " ").split())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("gates: {max_lag_ms: 5000, breach_lag_ms: 4000}", "would step back at 4000 ms of lag"),
        ("gates: {p95_ratio: 4.0}", "p99 varies more than p95"),
        ("gates: {retained_mb: 5000}", "a slot is lost at 4096 MiB"),
        ("stages: {canary: {on_fail: rollback, failure_limit: 4}}", "`int` <= 3"),  # it would act too late
        ("stages: {canary: {on_fail: retreat}}", "invalid enum value 'retreat'"),
        ("stages: {canary: {failure_limit: 1}}", "lacks the key 'on_fail'"),
    ],
)
def test_stages_that_would_flap_or_be_late_are_refused(tmp_path: Path, line: str, said: str) -> None:
    [problem] = problems(tmp_path, old="    mapping: toys.yaml\n", new=f"    mapping: toys.yaml\n    {line}\n")
    assert problem.startswith("plan.yaml:13: ")
    assert said in problem
