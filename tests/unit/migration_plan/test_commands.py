"""The verbs on the command line, with nothing running: what is said, and with which exit code."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from banyan.commands.plan import Interrupted, run_step
from banyan.environment import load_environment
from migration_plan.verbs import Result
from tests.fixtures import forked

ROOT = Path(__file__).resolve().parents[3]


def banyan(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """As a user calls it, without a stack."""
    env = {"PATH": "/usr/bin:/bin", "BANYAN_HOME": str(home), **variables}
    return forked.run("banyan.cli", *arguments, env=env)


@pytest.mark.parametrize(
    "arguments",
    [
        ["advance", "prices", "--yes"],
        ["switch", "prices", "--yes"],
        ["rollback", "prices", "--yes"],
        ["verify", "prices"],
        ["prepare", "prices"],
        ["history", "prices"],
    ],
)
def test_an_unknown_domain_is_one_line_that_names_the_known_ones(tmp_path: Path, arguments: list[str]) -> None:
    done = banyan(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stderr == "error: no domain 'prices' in the plan; it has: pricing, devices, notifications\n"


def test_an_unknown_phase_is_one_line_that_names_the_known_ones(tmp_path: Path) -> None:
    done = banyan(tmp_path, "advance", "pricing", "--to", "servcie", "--yes")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no phase 'servcie'; there are: legacy, shadow, canary, service")


@pytest.mark.parametrize("verb", ["advance", "switch", "rollback"])
def test_an_unknown_gate_is_one_line_that_names_the_known_ones(tmp_path: Path, verb: str) -> None:
    done = banyan(tmp_path, verb, "pricing", "--force-gate", "verfy", "--yes")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no gate 'verfy'; there are: gateway, health, forward-stream, ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("verb", ["advance", "switch", "rollback", "verify", "prepare"])
def test_without_a_stack_it_says_how_to_start_one(tmp_path: Path, verb: str) -> None:
    done = banyan(tmp_path, verb, "pricing", *(["--yes"] if verb not in ("prepare", "verify") else []))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "is not set: start the stack with `banyan up`" in done.stderr


def test_a_server_that_is_down_is_one_line_without_a_password(tmp_path: Path) -> None:
    dsn = "postgresql://ctl:secret-word@127.0.0.1:1/banyan"
    done = banyan(tmp_path, "history", BANYAN_LEDGER_DSN=dsn)
    assert done.returncode == 1
    assert "the ledger's database does not answer" in done.stderr
    assert "secret-word" not in done.stderr


def test_a_variable_is_read_from_the_stacks_file(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("# a comment\nBANYAN_LEDGER_DSN=postgresql://ctl:a=b@127.0.0.1:1/banyan\n\n")
    assert load_environment({"BANYAN_HOME": str(tmp_path)})["BANYAN_LEDGER_DSN"].startswith("postgresql://ctl:a=b@")
    assert load_environment({"BANYAN_HOME": str(tmp_path), "BANYAN_LEDGER_DSN": "mine"})["BANYAN_LEDGER_DSN"] == "mine"
    assert "does not answer" in banyan(tmp_path, "history").stderr


def test_status_without_a_stack_says_in_one_line_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    done = banyan(tmp_path, "status")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: BANYAN_LEDGER_DSN is not set: start the stack with `banyan up`, or set BANYAN_HOME to the folder of one"
        f" that runs (there is no {tmp_path}/env)\n"
    )
    told = banyan(tmp_path, "status", "--json")
    assert (told.returncode, told.stderr) == (1, done.stderr)
    found = json.loads(told.stdout)
    assert [domain["domain"] for domain in found["domains"]] == ["pricing", "devices", "notifications"]
    assert {domain["phase"] for domain in found["domains"]} == {"unknown"}
    assert found["gateway_version"] is None


def test_status_of_a_stack_that_is_down_is_one_line_with_each_address_once(tmp_path: Path) -> None:
    dsns = [f"BANYAN_{name}_DSN" for name in ("LEDGER", "LEGACY", "PRICING", "DEVICES", "NOTIFICATIONS")]
    lines = [f"{name}=postgresql://ctl:secret-word@127.0.0.1:1/banyan" for name in dsns]
    lines += ["BANYAN_GATEWAY_ADMIN_URL=http://127.0.0.1:1", "GATEWAY_ADMIN_TOKEN=secret-word"]
    (tmp_path / "env").write_text("\n".join(lines))
    line = "error: nothing answers at 127.0.0.1:1, http://127.0.0.1:1: is the stack up? start it with `banyan up`\n"
    for arguments in (["status"], ["status", "--json"]):
        done = banyan(tmp_path, *arguments)
        assert (done.returncode, done.stderr) == (1, line)
    assert [away["at"] for away in json.loads(done.stdout)["away"]] == ["127.0.0.1:1", "http://127.0.0.1:1"]


@pytest.mark.parametrize(
    "arguments",
    [
        *[[verb, "pricing", "--yes"] for verb in ("advance", "switch", "rollback", "prepare", "verify")],
        ["switch", "pricing", "--dry-run"],
        ["history"],
    ],
)
def test_a_database_that_is_down_is_told_in_one_line_without_tabs(tmp_path: Path, arguments: list[str]) -> None:
    dsn = "postgresql://ctl:secret-word@127.0.0.1:1/banyan"
    names = ("LEDGER", "LEGACY", "PRICING", "LEGACY_OWNER", "PRICING_OWNER")
    done = banyan(tmp_path, *arguments, **{f"BANYAN_{name}_DSN": dsn for name in names})
    assert done.returncode == 1
    assert re.fullmatch(
        r"error: .* database.* does not answer at 127\.0\.0\.1:1 \(Connection refused\):"
        r" is the stack up\? start it with `banyan up`\n",
        done.stderr,
    )


def test_a_variable_that_is_no_databases_url_is_told_without_its_value(tmp_path: Path) -> None:
    done = banyan(tmp_path, "history", BANYAN_LEDGER_DSN="secret-word")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: BANYAN_LEDGER_DSN is not a database's URL, such as postgresql://")
    assert "secret-word" not in done.stderr


def test_a_broken_plan_is_refused_with_its_lines_by_every_command(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text((ROOT / "migration_plan" / "plan.yaml").read_text().replace("shadow_percent:", "shadow_procent:"))
    for arguments in (["plan", "lint"], ["status"], ["switch", "pricing", "--yes"]):
        done = banyan(tmp_path, *arguments, BANYAN_PLAN=str(plan))
        assert done.returncode == 1
        assert "unknown key 'shadow_procent' in domains.pricing" in done.stderr
        assert "plan.yaml:" in done.stderr


def test_the_shipped_plan_passes_its_lint(tmp_path: Path) -> None:
    done = banyan(tmp_path, "plan", "lint")
    assert (done.returncode, done.stdout) == (0, "plan.yaml: 3 domains, 63 operations, no problem\n")


def test_compile_writes_the_streams_and_the_table(tmp_path: Path) -> None:
    urls = {f"BANYAN_{name}_URL": "http://127.0.0.1:5000" for name in ("LEGACY", "PRICING", "DEVICES", "NOTIFICATIONS")}
    done = banyan(tmp_path, "plan", "compile", "--out", str(tmp_path / "out"), **urls)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names[:2] == ["devices.forward.json", "devices.reverse.json"]
    assert len(names) == 7
    assert json.loads((tmp_path / "out" / "table.json").read_text())["version"] == 1


def test_a_dry_run_of_compile_says_what_it_would_write_and_writes_nothing(tmp_path: Path) -> None:
    urls = {f"BANYAN_{name}_URL": "http://127.0.0.1:5000" for name in ("LEGACY", "PRICING", "DEVICES", "NOTIFICATIONS")}
    out = tmp_path / "out"

    def states() -> list[str]:
        done = banyan(tmp_path, "plan", "compile", "--out", str(out), "--dry-run", **urls)
        assert done.returncode == 0, done.stderr
        *files, last = done.stdout.splitlines()
        assert last == "dry run: nothing was changed"
        return [line.split()[0] for line in files]

    assert states() == ["new"] * 7
    assert not out.exists()
    assert banyan(tmp_path, "plan", "compile", "--out", str(out), **urls).returncode == 0
    (out / "table.json").write_text("{}")
    assert states() == ["equal"] * 6 + ["changed"]
    assert (out / "table.json").read_text() == "{}"


def test_a_dry_run_of_differences_goes_with_reset_only(tmp_path: Path) -> None:
    done = banyan(tmp_path, "differences", "pricing", "--dry-run")
    assert done.returncode == 2
    assert "--dry-run goes with --reset" in done.stderr


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    urls = {f"BANYAN_{name}_URL": "http://127.0.0.1:5000" for name in ("LEGACY", "PRICING", "DEVICES", "NOTIFICATIONS")}
    done = banyan(tmp_path, "plan", "compile", "--out", "/proc/nowhere", **urls)
    assert done.returncode == 1
    assert done.stderr == "Error: Could not open file '/proc/nowhere': No such file or directory\n"


@pytest.mark.parametrize(
    "arguments", [*[[verb, "pricing"] for verb in ("advance", "switch", "rollback")], ["plan", "publish"]]
)
def test_where_nobody_can_be_asked_one_line_says_what_helps(tmp_path: Path, arguments: list[str]) -> None:
    done = banyan(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: nobody can be asked here: say --yes, or look first with --dry-run\n"


def test_prepare_takes_one_domain_or_all(tmp_path: Path) -> None:
    assert banyan(tmp_path, "prepare").returncode == 2
    assert banyan(tmp_path, "prepare", "pricing", "--all").returncode == 2


def test_a_step_that_is_interrupted_says_where_to_look() -> None:
    def verb(*_: object, **__: object) -> Result:
        raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="`banyan status` says where pricing stands") as caught:
        run_step(verb, "pricing", {}, yes=True, dry_run=False, as_json=False)
    assert caught.value.exit_code == 130
