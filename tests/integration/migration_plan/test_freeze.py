"""A frozen domain goes back and not forward, whoever asks, on a running toy stack."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from migration_plan import status, verbs
from migration_plan.errors import Frozen, NameUnknown, Refused
from migration_plan.journey import LEGACY, SHADOW, Stand
from tests.fixtures import forked
from tests.integration.migration_plan.toy import Toys


def banyan(toys: Toys, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "BANYAN_HOME": str(toys.folder), "BANYAN_ACTOR": "ann", **toys.env}
    return forked.run("banyan.cli", *arguments, env=env)


def test_a_frozen_domain_takes_no_step_forward_by_anybody_but_goes_back(toys: Toys) -> None:
    toys.put_stand(Stand("canary", 50))
    with toys.context("ann") as ann, toys.context("bob") as bob:
        assert verbs.freeze(ann, toys.domain, "the disk is full").changed
        for step in (verbs.switch, verbs.advance):
            with pytest.raises(Refused, match="frozen by ann since .* UTC \\(the disk is full\\)") as refused:
                step(bob, toys.domain, **({"to": "60"} if step is verbs.advance else {}))
            assert isinstance(refused.value, Frozen)
        looked = verbs.switch(bob, toys.domain, dry_run=True)
        assert any("frozen by ann" in why for why in looked.refusal)
        assert verbs.rollback(bob, toys.domain).after == "shadow"
        [domain] = status.read(bob).domains
        assert domain.frozen is not None
        assert (domain.frozen.by, domain.frozen.why) == ("ann", "the disk is full")
        assert any("`banyan unfreeze" in problem for problem in domain.problems)
        assert verbs.unfreeze(bob, toys.domain, "a new disk").changed
        assert verbs.advance(bob, toys.domain).changed
        assert status.read(bob).domains[0].frozen is None
        assert ann.ledger().check().holds


def test_who_is_not_past_its_gates_when_the_domain_is_frozen_is_refused(
    toys: Toys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comparison may take hours; a freeze within them counts."""
    from migration_plan.verbs import reads

    def compare(*_: object) -> None:
        with toys.context("bob") as bob:
            assert "ann" in verbs.freeze(bob, toys.domain, "stop").message  # who is at work

    toys.put_stand(SHADOW)
    monkeypatch.setattr(reads, "verify_if_stale", compare)
    with toys.context("ann") as ann:
        with pytest.raises(Frozen):
            verbs.advance(ann, toys.domain)
        assert ann.ledger().states()[toys.domain, 0].stand == SHADOW


def test_freezing_twice_keeps_the_first_reason_and_looking_changes_nothing(toys: Toys) -> None:
    with toys.context() as context:
        assert not verbs.freeze(context, toys.domain, "look", dry_run=True).changed
        assert context.ledger().frozen() == {}
        assert not verbs.unfreeze(context, toys.domain).changed
        verbs.freeze(context, toys.domain, "first")
        again = verbs.freeze(context, toys.domain, "second")
        assert (again.changed, again.frozen, again.why) == (False, True, "first")
        with pytest.raises(NameUnknown):
            verbs.freeze(context, "nobody")


def test_a_step_decided_by_what_was_measured_elsewhere_is_refused(toys: Toys) -> None:
    toys.put_stand(SHADOW)
    with toys.context() as context:
        with pytest.raises(Refused, match="was at canary 10 % when this was decided, and is at shadow"):
            verbs.rollback(context, toys.domain, expected=Stand("canary", 10))
        assert verbs.rollback(context, toys.domain, expected=SHADOW).after == str(LEGACY)


def test_the_commands_ask_say_and_answer_as_the_other_verbs(toys: Toys) -> None:
    asked = banyan(toys, "freeze", toys.domain)
    assert (asked.returncode, "say --yes" in asked.stderr) == (2, True)
    looked = banyan(toys, "freeze", toys.domain, "--dry-run")
    assert looked.stdout.startswith(f"{toys.domain}: would be frozen\n  1 ledger")
    done = banyan(toys, "freeze", toys.domain, "--yes", "--json", "--reason", "night")
    answer = json.loads(done.stdout)
    assert (answer["verb"], answer["changed"], answer["by"], answer["why"]) == ("freeze", True, "ann", "night")
    refused = banyan(toys, "advance", toys.domain, "--yes")
    assert refused.returncode == 1
    assert "is frozen by ann" in refused.stderr
    shown = banyan(toys, "status")
    assert "is frozen by ann since" in shown.stderr
    assert banyan(toys, "unfreeze", toys.domain, "--yes").returncode == 0
    assert banyan(toys, "advance", toys.domain, "--yes").returncode == 0
