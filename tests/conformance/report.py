"""docs/conformance.md: the cases' results side by side, and what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tests.conformance.case import Case
from tests.conformance.cases import CASES, SUBJECTS
from tests.conformance.play import Outcome, judge

BEGIN = "<!-- tables: python -m tests.conformance --write -->"
KINDS = {
    "same": "does the same",
    "laxer": "lets it through, we refuse it",
    "stricter": "refuses it, we let it through",
    "status": "refuses too, with another status or end",
    "rewrites": "lets through too, but upstream or client get something else",
}


@dataclass(frozen=True, slots=True)
class Result:
    outcome: Outcome
    wrong: list[str]

    def kind(self, case: Case) -> str:
        if not self.wrong:
            return "same"
        passes = bool(self.outcome.seen)
        if passes and not case.forwards:
            return "laxer"
        if case.forwards and not passes:
            return "stricter"
        return "rewrites" if passes else "status"


Results = Mapping[str, Mapping[str, Result]]  # contestant → case → result


def result(case: Case, outcome: Outcome) -> Result:
    return Result(outcome, judge(case, outcome))


def tables(results: Results) -> str:
    names = list(results)
    lines = [
        "| subject | cases | " + " | ".join(f"{name} alike" for name in names) + " |",
        "|---" * (len(names) + 2) + "|",
    ]
    for subject, cases in [*SUBJECTS.items(), ("all", CASES)]:
        counts = []
        for name in names:
            played = [results[name][case.id] for case in cases if case.id in results[name]]
            counts.append(f"{sum(not one.wrong for one in played)} of {len(played)}")
        lines.append(f"| {subject} | {len(cases)} | " + " | ".join(counts) + " |")
    lines += ["", "| of those that differ, the peer … | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    counted = {name: Counter(found.kind(case) for case, found in _played(results[name])) for name in names}
    for kind, words in KINDS.items():
        if kind != "same":
            lines.append(f"| {words} | " + " | ".join(str(counted[name][kind]) for name in names) + " |")
    for subject, cases in SUBJECTS.items():
        lines += [
            "",
            f"### {subject}",
            "",
            "| case | RFC | we | " + " | ".join(names) + " |",
            "|---" * (len(names) + 3) + "|",
        ]
        for case in cases:
            found = [results[name].get(case.id) for name in names]
            if any(one is not None and one.wrong for one in found):
                cells = [_cell(case, one) for one in found]
                lines.append(f"| {_escaped(case.id)} | {case.rfc} | {_ours(case)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _played(results: Mapping[str, Result]) -> list[tuple[Case, Result]]:
    return [(case, results[case.id]) for cases in SUBJECTS.values() for case in cases if case.id in results]


def _ours(case: Case) -> str:
    statuses = " ".join(map(str, case.status)) or "no answer"
    return f"{statuses}, {case.then}"


def _cell(case: Case, found: Result | None) -> str:
    if found is None:
        return "not asked"
    if not found.wrong:
        return "="
    told = str(found.outcome) if found.kind(case) != "rewrites" else found.wrong[0]
    return _escaped(told[:110] + "…" if len(told) > 110 else told)


def _escaped(text: str) -> str:
    shown = "".join(c if 31 < ord(c) < 127 or c in "…ü→" else f"\\x{ord(c):02x}" for c in text)
    return shown.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
