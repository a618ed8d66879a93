"""A run in figures and rows, for every surface that shows it: the JSON line, the report, the page, the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bot.core.budget import MICRO, Usage
from bot.core.changeset import added_lines, removed_lines
from bot.core.conversation import Text
from bot.core.machines import RunState
from bot.core.phases import Kind
from bot.core.policy import needs_owner
from bot.core.run import Run

EXIT_CODES = {
    RunState.DONE_SUCCESS: 0,
    RunState.DONE_FAILED_BUDGET_EXHAUSTED: 3,
    RunState.DONE_FAILED_POLICY_VIOLATION: 4,
    RunState.DONE_FAILED_ENVIRONMENT: 5,
    RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW: 2,
}


def exit_code(run: Run) -> int:
    """0 done, 2 a person is needed, 3 budget, 4 policy, 5 environment."""
    if run.waiting is not None:
        return 3 if run.waiting.what == "budget" else 2
    return EXIT_CODES.get(run.state, 1)


def status(run: Run) -> str:
    """The session's status: running, paused, completed or failed."""
    if run.state is RunState.DONE_SUCCESS:
        return "completed"
    return "failed" if run.over else "paused" if run.waiting else "running"


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """One phase as tables show it. Cost is micro-dollars."""

    id: str
    kind: str
    tier: str
    state: str
    model: str
    calls: int
    usage: Usage
    cost: int
    note: str


def phase_rows(run: Run) -> tuple[PhaseRow, ...]:
    """All phases in order, then jobs that were lost. Calls of a kind that ran more than once are shown with its first phase."""
    seen: set[Kind] = set()
    rows = []
    for phase in run.phases:
        mine = [charge for charge in run.ledger.charges if charge.phase == phase.kind] if phase.kind not in seen else []
        seen.add(phase.kind)
        models = ", ".join(dict.fromkeys(charge.model for charge in mine))
        usage = sum((charge.usage for charge in mine), Usage())
        rows.append(
            PhaseRow(
                phase.id,
                phase.kind,
                phase.tier,
                str(phase.state),
                models,
                len(mine),
                usage,
                sum(c.amount for c in mine),
                phase.reason,
            )
        )
    rows += [
        PhaseRow(charge.call, charge.role, "", "LOST", charge.model, 1, charge.usage, charge.amount, "its journal is gone")
        for charge in run.ledger.charges
        if charge.phase == "LOST"
    ]
    return tuple(rows)


def checks(run: Run) -> dict[str, str]:
    """Name of each check to its outcome; `tests` before and after, and the proof."""
    found: dict[str, str] = {}
    if run.baseline:
        found["tests_before"] = run.baseline.tests.outcome
    if run.proof and run.verdict:
        found |= {check.name: check.outcome for check in run.proof.head.checks}
        found["tests_after"] = run.proof.head.tests.outcome
        found["verdict"] = run.verdict.outcome
        if run.verdict.reproduced:
            found |= {"fail_before_pass_after": "pass"}
    return found


def line(run: Run) -> dict[str, Any]:
    """The object that `ostler run --json` prints last. `cost_usd` is exact to the micro-dollar."""
    usage = run.ledger.usage
    writes = usage.cache_write + usage.cache_write_long
    return {
        "session": run.request.session,
        "run_state": str(run.state),
        "outcome": run.outcome or (run.waiting.text if run.waiting else ""),
        "branch": run.branch or None,
        "base_sha": run.request.base_sha,
        "head_sha": run.head_sha or None,
        "changeset_digest": run.changeset.digest if run.changeset and run.changeset.files else None,
        "plan_digest": run.waiting.digest if run.waiting and run.waiting.digest else None,
        "cost_usd": run.ledger.spent / MICRO,
        "tokens": {"input": usage.input, "output": usage.output, "cache_read": usage.cache_read, "cache_write": writes},
        "calls": len(run.ledger.charges),
        "checks": checks(run),
        "findings": [
            {
                "source": f.source,
                "severity": f.severity,
                "rule": f.rule,
                "place": f.place,
                "claim": f.claim,
                "evidence": list(f.evidence),
            }
            for f in run.findings
        ],
    }


def budget_line(run: Run) -> str:
    """`Budget: 35% used ($3.50/$10.00) - ~15 iterations remaining`; an iteration is one build call."""
    cap, spent = run.ledger.run_cap, run.ledger.spent
    if not cap:
        return "Budget: no strategy yet"
    builds = [charge.amount for charge in run.ledger.charges if charge.phase == Kind.IMPLEMENT and not charge.lost]
    mean = sum(builds) // len(builds) if builds else 0
    left = f"~{(cap - spent) // mean} iterations remaining" if mean else "iterations remaining not known yet"
    return f"Budget: {100 * spent // cap}% used (${spent / MICRO:.2f}/${cap / MICRO:.2f}) - {left}"


def account(run: Run) -> str:
    """What the builder said last about its own work: words, not proof."""
    for phase in reversed(run.phases):
        if phase.kind is Kind.IMPLEMENT and phase.conversation and phase.conversation[-1].role == "assistant":
            return "\n".join(block.text for block in phase.conversation[-1].blocks if isinstance(block, Text)).strip()
    return ""


def by_model(run: Run) -> tuple[tuple[str, int, Usage, int], ...]:
    """Model, calls, tokens and micro-dollars, in the order of first use."""
    names = dict.fromkeys(charge.model for charge in run.ledger.charges)
    groups = {name: [charge for charge in run.ledger.charges if charge.model == name] for name in names}
    return tuple(
        (name, len(mine), sum((c.usage for c in mine), Usage()), sum(c.amount for c in mine)) for name, mine in groups.items()
    )


def changed_files(run: Run) -> list[dict[str, Any]]:
    """Changed files, those that need their owner first."""
    files = [
        {
            "path": change.path,
            "op": change.op,
            "owner": needs_owner(change.path),
            "added": len(added_lines(change)),
            "removed": len(removed_lines(change)),
        }
        for change in (run.changeset.files if run.changeset else ())
    ]
    return sorted(files, key=lambda file: (not file["owner"], file["path"]))
