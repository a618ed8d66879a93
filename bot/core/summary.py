"""A run in figures and rows, for every surface that shows it: the JSON line, the report, the page, the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bot.core import forecast
from bot.core.budget import LOST, MICRO, RUNNER, RUNNER_MINUTES, Usage, dollars
from bot.core.budget_report import BudgetReport, OverrideRow, report
from bot.core.changeset import added_lines, removed_lines
from bot.core.conversation import Text
from bot.core.forecast import FEWEST, Forecast, iterations_left
from bot.core.machines import PhaseState, RunState
from bot.core.observed import false_approvals
from bot.core.opinions import disagreement
from bot.core.phases import Kind
from bot.core.policy import needs_owner
from bot.core.risk import high_risk
from bot.core.run import Overrun, Run, short
from bot.core.spending import facts, standing_of, uses

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
        return 2 if run.waiting.what == "approval" else 3
    return EXIT_CODES.get(run.state, 1)


def way_on(run: Run) -> str:
    """What to give `ostler resume` after the session's name when a person lets the run go on."""
    if run.waiting is None:
        return ""
    return {
        "approval": f"--approve {short(run.waiting.digest)}",
        "budget": f"--max-cost {run.waiting.needed / MICRO:.2f}",
        "overrun": '--accept-overrun "WHY"',
        "shared": "",
    }[run.waiting.what]


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
    """All phases in order, then jobs that were lost, then the minutes of all jobs. Calls of a kind that ran more than once are
    shown with its first phase."""
    seen: set[Kind] = set()
    rows = []
    for phase in run.phases:
        mine = [charge for charge in run.ledger.charges if charge.kind == phase.kind] if phase.kind not in seen else []
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
        if charge.kind == LOST
    ]
    if minutes := [charge for charge in run.ledger.charges if charge.kind == RUNNER_MINUTES]:
        amount, lost = sum(charge.amount for charge in minutes), any(charge.lost for charge in minutes)
        note = "some of a job that never ended" if lost else ""
        rows.append(PhaseRow("jobs", "minutes", "", "BILLED", RUNNER, len(minutes), Usage(), amount, note))
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


def ci_line(run: Run) -> str:
    """Which CI profile the change is checked by and why; empty where the repository has no checks of its own."""
    if not run.request.settings.commands.of("strict"):
        return ""
    return f"{run.compiled.ci_profile}{': ' if run.compiled.ci_reason else ''}{run.compiled.ci_reason}"


def line(run: Run) -> dict[str, Any]:
    """The object that `ostler run --json` prints last. `cost_usd` is exact to the micro-dollar."""
    usage = run.ledger.usage
    writes = usage.cache_write + usage.cache_write_long
    return {
        "session": run.request.session,
        "run_state": str(run.state),
        "outcome": run.outcome or (run.waiting.text if run.waiting else ""),
        "branch": run.branch or None,
        "base_sha": run.base_sha,
        "head_sha": run.head_sha or None,
        "changeset_digest": run.changeset.digest if run.changeset and run.changeset.files else None,
        "plan_digest": run.waiting.digest if run.waiting and run.waiting.digest else None,
        "cost_usd": run.ledger.spent / MICRO,
        "cache_hit_rate": cache_hit_rate(usage),
        "tokens": {"input": usage.input, "output": usage.output, "cache_read": usage.cache_read, "cache_write": writes},
        "calls": run.ledger.calls,
        "checks": checks(run),
        "findings": [
            {
                "source": f.source,
                "severity": f.severity,
                "rule": f.rule,
                "place": f.place,
                "claim": f.claim,
                "evidence": list(f.evidence),
                "note": f.note,
            }
            for f in run.findings
        ],
        "audit": audit_figures(run),
    }


def iteration_costs(run: Run) -> tuple[int, ...]:
    """What each finished iteration cost: the calls of a build phase that has come to its proof."""
    done = [
        p.id for p in run.phases if p.kind is Kind.IMPLEMENT and p.choice and p.state in (PhaseState.COMPLETE, PhaseState.FAILED)
    ]
    return tuple(sum(charge.amount for charge in run.ledger.charges if charge.phase == id_) for id_ in done)


def iterations(run: Run) -> int | None:
    """How many more iterations the money left pays for; None before one is finished."""
    return iterations_left(iteration_costs(run), run.ledger.run_cap - run.ledger.committed)


def budget_line(run: Run) -> str:
    """`Budget: 35% used ($3.50/$10.00) - ~15 iterations remaining`."""
    if not run.ledger.run_cap:
        return "Budget: no strategy yet"
    return forecast.budget_line(run.ledger.spent, run.ledger.run_cap, iterations(run))


def quote(run: Run) -> Forecast:
    """What the whole run may cost, from finished runs like it: of the same scope where there are enough, else of any."""
    past, seen = run.request.settings.experience.runs, run.compiled.triage
    alike = [one.cost for one in past if one.scope == seen.scope]
    costs = alike if len(alike) >= FEWEST else [one.cost for one in past]
    return forecast.forecast(costs, spent=run.ledger.spent, cap=run.ledger.run_cap)


def budget_of(run: Run) -> BudgetReport:
    """The run's budget report."""
    seen, kinds = run.compiled.triage, [limit.kind for limit in run.compiled.limits]
    return report(
        run.request.settings.rules,
        run.compiled.limits,
        uses(run),
        standing_of(run),
        task=run.request.ticket.title,
        scope=str(seen.scope),
        importance=seen.importance,
        spent=run.ledger.spent,
        cap=run.ledger.run_cap,
        iterations=iterations(run),
        charges=run.ledger.charges,
        facts={kind: facts(run, kind) for kind in kinds},
        overrides=tuple(_override(overrun) for overrun in run.overruns),
    )


def _override(overrun: Overrun) -> OverrideRow:
    if overrun.what == "money":
        return OverrideRow("budget of the run", overrun.by, overrun.reason, dollars(overrun.before), dollars(overrun.after))
    return OverrideRow("limits of the run", overrun.by, overrun.reason, f"{overrun.before:,} tokens", f"{overrun.after:,} tokens")


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


def cache_hit_rate(usage: Usage) -> float | None:
    """The share of input tokens that came from the vendors' caches, from 0 to 1; None where nothing was sent."""
    return round(usage.cache_read / usage.prompt, 4) if usage.prompt else None


def cache_line(run: Run) -> str:
    """`From the vendors' caches: 87% of 123,456 input tokens (claude-haiku-5-5 91%, gpt-6.1-terra 12%)`; empty without calls."""
    usage = run.ledger.usage
    rate = cache_hit_rate(usage)
    if rate is None:
        return ""
    each = [(model, cache_hit_rate(mine)) for model, _, mine, _ in by_model(run)]
    parts = ", ".join(f"{model} {share:.0%}" for model, share in each if share is not None)
    return f"From the vendors' caches: {rate:.0%} of {usage.prompt:,} input tokens ({parts})"


def second_opinion(run: Run) -> str:
    """What a second auditor added, where the risk asks for one; empty where it does not, or before anybody audited."""
    opinions = run.documents.opinions
    if not opinions or not high_risk(run):
        return ""
    if len(opinions) < 2:
        return "High risk asks for a second auditor, and no other model is configured: one audited alone"
    apart, of = disagreement([opinion.audit for opinion in opinions])
    if not of:
        return "Two auditors, and neither calls anything major"
    return f"Two auditors, who disagree on {apart} of {of} major points"


def planted_line(run: Run) -> str:
    """How the auditor did with a known defect, in this run and in those before it; empty where none was planted."""
    planted, before = run.documents.planted, run.request.settings.experience.audits
    if planted is None:
        return ""
    if planted.skipped:
        return f"A trial of the auditor with a known defect was left out: {planted.skipped}"
    passed, of = false_approvals(before)
    passed, of = passed + planted.approved, of + 1
    how = "let it pass" if planted.approved else "found it"
    rate = f"{passed} of {of} such defects of this repository's runs passed an audit"
    return f"Shown the same change with a known defect in {planted.place}, {planted.auditor} {how}; {rate}"


def audit_figures(run: Run) -> dict[str, Any]:
    """Who audited, what of their major points only one of two saw, and what became of major findings."""
    notes = [finding.note for finding in run.findings if finding.source == "auditor"]
    apart, of = disagreement([opinion.audit for opinion in run.documents.opinions])
    planted = run.documents.planted
    return {
        "planted": "" if planted is None or planted.skipped else "approved" if planted.approved else "caught",
        "auditors": [opinion.choice.model.model for opinion in run.documents.opinions],
        "disagreed": apart,
        "major_points": of,
        "confirmed": sum(note.startswith("confirmed") for note in notes),
        "refuted": sum(note.startswith("refuted") for note in notes),
        "not_run": sum(note.startswith("not ") for note in notes),
    }


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
