"""REVIEW: models that did not make the change judge it; what they say is checked before it counts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from bot.core.ageing import to_clean
from bot.core.answers import AnswerError, Audit, AuditCheck, CriterionVerdict, read
from bot.core.calling import ask, reads, skips, text_of, unusable
from bot.core.changeset import decoded
from bot.core.effects import RunAuditChecks
from bot.core.errors import BugError
from bot.core.events import AuditChecksRan, ModelReplied
from bot.core.findings import Finding, merge
from bot.core.flow import begins, go_back, pass_gate, to_gate
from bot.core.ladder import author, builds
from bot.core.mutants import Mutant, draw, mutant
from bot.core.opinions import Claim, claims, key_of, to_run, united, weighed
from bot.core.phases import Kind, Role
from bot.core.reports import Trial
from bot.core.risk import high_risk
from bot.core.run import Opinion, Planted, Run, Step
from bot.core.selection import Choice, Scope, apart, second_auditor
from bot.core.validation import outcomes

CRITERION = "criterion-"
"""Begins the rule of a finding that is about a criterion, not about a place in the change."""
AGED = "aged:"
"""Begins the note of a minor finding that counts as major because several runs left it."""


@begins(Kind.REVIEW)
def begin_review(run: Run) -> Step:
    """A fixer's own before and after report is evidence enough; a model's work is audited by another model. What git alone put
    onto a new base is the change that was audited."""
    if builds(run)[-1].rung == "rebase" and not run.compiled.fixers:
        return pass_gate(to_gate(run), "the change that was audited, on another base")
    run = replace(run, documents=replace(run.documents, opinions=(), audit=None))
    if not run.compiled.fixers:
        chosen = next(choice for choice in run.compiled.choices if choice.role is Role.AUDITOR)
        return ask(run.with_phase(replace(run.phase, choice=apart(chosen, run.request.settings.models, author(run).model))))
    evidence = tuple(f"{report.fixer}: {report.before} before, {report.after} after" for report in run.fixer_reports)
    tests = run.verdict.outcome if run.verdict else "neutral"
    verdicts = (
        CriterionVerdict("C1", "met", evidence),
        CriterionVerdict("C2", "met" if tests == "pass" else "unverifiable", ("tests",)),
    )
    audit = Audit(verdicts, (), ("no model looked at this change: it is a deterministic fixer's",))
    return pass_gate(to_gate(replace(run, documents=replace(run.documents, audit=audit))))


@reads(Kind.REVIEW)
def audit_read(run: Run, event: ModelReplied) -> Step:
    """Evidence has to resolve: findings without any are dropped, criteria without any are not verified."""
    if run.phase.stage == "planted":
        return _planted_read(run, event)
    plan, phase = run.documents.plan, run.phase
    wanted = [criterion.id for criterion in (plan.criteria if plan else ())]
    try:
        audit = read(Audit, text_of(event))
    except AnswerError as error:
        return unusable(run, event, str(error))
    if missing := [name for name in wanted if name not in {verdict.id for verdict in audit.criteria}]:
        return unusable(run, event, f"criterion {missing[0]} has no verdict")
    if phase.choice is None:
        raise BugError("an audit without an auditor")
    audit = _resolved(run, replace(audit, criteria=tuple(v for v in audit.criteria if v.id in wanted)))
    opinions = (*run.documents.opinions, Opinion(phase.choice, audit))
    run = replace(run, documents=replace(run.documents, opinions=opinions))
    if phase.stage == "audit" and (other := other_auditor(run, phase.choice)):
        return ask(run.with_phase(replace(phase, stage="second", choice=other, conversation=(), unusable=0)))
    return _heard(run)


def other_auditor(run: Run, first: Choice) -> Choice | None:
    """Who audits besides `first`: somebody where the risk is high, if there is another model that may."""
    if not high_risk(run):
        return None
    return second_auditor(first, run.request.settings.models, author(run).model)


def _heard(run: Run) -> Step:
    """All auditors spoke."""
    audits = [opinion.audit for opinion in run.documents.opinions]
    run = replace(run, documents=replace(run.documents, audit=united(audits)))
    if bad := to_plant(run):
        place, first = f"{bad.path}:{bad.line}", run.documents.opinions[0].choice
        planted = Planted(first.model.model, place)
        phase = replace(run.phase, stage="planted", choice=first, conversation=(), unusable=0)
        return ask(replace(run, documents=replace(run.documents, planted=planted)).with_phase(phase))
    return _tried(run)


def to_plant(run: Run) -> Mutant | None:
    """The known defect that the auditor is tried with: in one audit of so many as the settings say, once in a run, and not for
    work so small that the trial would cost as much as the audit is worth."""
    one_in, changeset = run.request.settings.planted, run.changeset
    if not one_in or changeset is None or run.documents.planted or run.compiled.triage.scope is Scope.TINY:
        return None
    return mutant(changeset) if draw(changeset.tree, "plant") % one_in == 0 else None


def _planted_read(run: Run, event: ModelReplied) -> Step:
    """Whether the auditor would have let the defect pass. It says nothing about the change itself."""
    try:
        audit = read(Audit, text_of(event))
    except AnswerError as error:
        return unusable(run, event, str(error))
    found = any(finding.severity == "major" for finding in audit.findings) or any(v.verdict == "unmet" for v in audit.criteria)
    return _with_planted(run, approved=not found)


@skips(Kind.REVIEW)
def planted_skipped(run: Run, why: str) -> Step:
    return _with_planted(run, skipped=why)


def _with_planted(run: Run, *, approved: bool = False, skipped: str = "") -> Step:
    planted = run.documents.planted
    if planted is None:
        raise BugError("nothing was planted")
    known = replace(planted, approved=approved, skipped=skipped)
    return _tried(replace(run, documents=replace(run.documents, planted=known)))


def _tried(run: Run) -> Step:
    """What the major claims rest on is run before anything is decided."""
    audits = [opinion.audit for opinion in run.documents.opinions]
    if checks := to_run(claims(audits)):
        return run, (RunAuditChecks(run.tree, checks),)
    return _decided(run, {})


def checks_ran(run: Run, event: AuditChecksRan) -> Step:
    asked = run.pending
    if not isinstance(asked, RunAuditChecks) or len(asked.checks) != len(event.trials):
        raise BugError("each check of an audit has one answer")
    return _decided(run.worked(event.seconds), dict(zip(asked.checks, event.trials, strict=True)))


def _decided(run: Run, trials: Mapping[AuditCheck, Trial]) -> Step:
    """Only what is major now buys another loop."""
    audit, audits = run.documents.audit, [opinion.audit for opinion in run.documents.opinions]
    found = (
        *(_criterion_finding(verdict) for verdict in (audit.criteria if audit else ()) if verdict.verdict != "met"),
        *(_finding(run, claim, trials) for claim in claims(audits)),
    )
    run = to_gate(replace(run, findings=merge(run.findings, found)))
    majors = [finding for finding in found if finding.severity == "major"]
    if majors and all(finding.note.startswith(AGED) for finding in majors) and not _may_go_back_for_debt(run):
        return pass_gate(run, "what earlier runs left too is still there")
    if majors:
        return go_back(run, (Kind.IMPLEMENT, Kind.VERIFY, Kind.REVIEW), tuple(_told(finding) for finding in majors))
    return pass_gate(run)


def _may_go_back_for_debt(run: Run) -> bool:
    """Debt alone buys one more attempt and ends no run: the change is as good as those before it."""
    return run.attempt == 1 and run.compiled.attempts > 1


def _finding(run: Run, claim: Claim, trials: Mapping[AuditCheck, Trial]) -> Finding:
    severity, note = weighed(claim, trials, resolves=any(resolves(run, item) for item in claim.evidence))
    aged = next((debt for debt in to_clean(run.request.settings.experience.audits) if debt.key == claim.key), None)
    if aged and claim.severity == "minor":
        severity, note = "major", f"{AGED} {aged.runs} runs before left it too"
    return Finding("auditor", severity, f"{claim.category}:{claim.text[:80]}", claim.place, claim.text, claim.evidence, note)


def audit_key(finding: Finding) -> str:
    """By which a finding of an auditor is known over runs; empty for any other."""
    if finding.source != "auditor" or finding.rule.startswith(CRITERION):
        return ""
    return key_of(finding.rule.partition(":")[0], finding.place)


def _told(finding: Finding) -> str:
    """A problem as the next attempt reads it."""
    return f"{finding.place}: {finding.claim}" + (f" ({finding.note})" if finding.note else "")


def _resolved(run: Run, audit: Audit) -> Audit:
    criteria = tuple(
        replace(v, verdict="unverifiable") if v.verdict == "met" and not any(resolves(run, e) for e in v.evidence) else v
        for v in audit.criteria
    )
    return replace(
        audit,
        criteria=criteria,
        findings=tuple(f for f in audit.findings if any(resolves(run, e) for e in (*f.evidence, f.place))),
    )


def resolves(run: Run, evidence: str) -> bool:
    """Whether `evidence` names something that exists: a line of a changed file, a file, a test that ran, a check that ran."""
    proof = run.proof
    if proof is None:
        return False
    if evidence in outcomes(proof.head.tests) or evidence in {check.name for check in proof.head.checks} | {"tests"}:
        return True
    path, _, line = evidence.partition(":")
    for change in run.changeset.files if run.changeset else ():
        if change.path == path:
            text = decoded(change.after if change.after is not None else change.before) or ""
            numbers = re.fullmatch(r"(\d{1,9})(?:-\d+)?", line)
            return not line or bool(numbers and 1 <= int(numbers[1]) <= text.count("\n") + 1)
    return False


def _criterion_finding(verdict: CriterionVerdict) -> Finding:
    rule = f"{CRITERION}{verdict.id}"
    if verdict.verdict == "unmet":
        return Finding("auditor", "major", rule, verdict.id, "the criterion is not met", verdict.evidence)
    return Finding("auditor", "minor", rule, verdict.id, "the criterion could not be verified", verdict.evidence)
