"""What a finished run adds to the experience of its repository."""

from __future__ import annotations

from bot.core.auditing import audit_key
from bot.core.experience import NONE, Audited, Experience, File, KindUse, Outcome, RunCost, Sighting
from bot.core.inert import plain
from bot.core.machines import PhaseState, RunState
from bot.core.opinions import disagreement
from bot.core.phases import Kind
from bot.core.policy import redact
from bot.core.run import Phase, Run
from bot.core.spending import uses
from bot.core.standing import by_kind

MAX_FILES, MAX_LEFT, MAX_PLACE, MAX_CLAIM = 40, 20, 200, 200
"""Of one audit: files and findings, and characters of a path and of a claim, that are kept."""


def taught(run: Run) -> Experience:
    """All that the run, if it is over, adds."""
    cost = run_cost(run) if run.over else None
    seen = audited(run)
    return Experience(outcomes(run), (cost,), (seen,) if seen else ()) if cost else NONE


def audited(run: Run) -> Audited | None:
    """What the audit of a delivered change looked at and left behind; None where nothing was delivered or no model looked."""
    opinions, changeset = run.documents.opinions, run.changeset
    if run.state is not RunState.DONE_SUCCESS or not opinions or changeset is None:
        return None
    left = {
        key: Sighting(key, finding.severity, finding.place[:MAX_PLACE], redact(plain(finding.claim, MAX_CLAIM)))
        for finding in run.findings
        if (key := audit_key(finding))
    }
    apart, points = disagreement([opinion.audit for opinion in opinions])
    files = tuple(File(path) for path in changeset.paths if len(path) <= MAX_PLACE)
    critical = run.compiled.triage.importance == "critical"
    shown = run.documents.planted if run.documents.planted and not run.documents.planted.skipped else None
    became = ("approved" if shown.approved else "caught") if shown else ""
    seen = (files[:MAX_FILES], tuple(left.values())[:MAX_LEFT], "", opinions[0].choice.model.model, became)
    return Audited(critical, apart, points, *seen)


def outcomes(run: Run) -> tuple[Outcome, ...]:
    """Each build attempt whose work was judged. What ended for other reasons, such as a broken machine or
    a person's stop, says nothing about the model."""
    seen = run.compiled.triage if run.strategy else None
    found: list[Outcome] = []
    for at, phase in enumerate(run.phases):
        if seen is None or not phase.is_attempt or phase.choice is None:
            continue
        held = _held(run.phases[at + 1 :])
        if held is not None:
            model = phase.choice.model
            name = str(model.model_class)
            found.append(Outcome(seen.category, str(seen.scope), model.vendor, model.model, name, held, len(found) + 1))
    return tuple(found)


def _held(after: tuple[Phase, ...]) -> bool | None:
    """Whether what an attempt left passed its proof and its audit; None where neither said no and the proof did not say yes.
    What tools mended afterwards was no failure of the model's."""
    held: bool | None = None
    for phase in after:
        if phase.kind is Kind.IMPLEMENT and phase.state is not PhaseState.QUEUED:
            if not phase.fixers:
                break
            held = None
        elif phase.kind in (Kind.VERIFY, Kind.REVIEW) and phase.state is PhaseState.FAILED:
            held = False
        elif phase.kind is Kind.VERIFY and phase.state is PhaseState.COMPLETE:
            held = True
    return held


def run_cost(run: Run) -> RunCost | None:
    """What the run cost and what its kinds used; None for one that asked no model."""
    if run.strategy is None or not run.ledger.calls:
        return None
    seen = run.strategy.triage
    used = tuple(KindUse(use.kind, use.tokens, use.active) for use in by_kind(uses(run)))
    return RunCost(seen.category, str(seen.scope), seen.importance, run.ledger.spent, used)
