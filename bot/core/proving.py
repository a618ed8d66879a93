"""VERIFY, REVIEW, PR: what the harness saw decides; what a model says is checked before it counts."""

from __future__ import annotations

import re
from dataclasses import replace

from bot.core.answers import AnswerError, Audit, CriterionVerdict, read
from bot.core.calling import ask, reads, text_of, unusable
from bot.core.changeset import decoded
from bot.core.effects import Deliver, RepeatProof, RunProof
from bot.core.errors import BugError
from bot.core.events import Delivered, ModelReplied, ProofRan, ProofRepeated
from bot.core.findings import Finding, merge
from bot.core.flow import begins, fail, go_back, pass_gate, to_gate
from bot.core.inert import plain
from bot.core.machines import RunState
from bot.core.phases import Kind, Role
from bot.core.run import Run, Step, branch_name, short
from bot.core.selection import apart
from bot.core.spending import stopped_for_tokens
from bot.core.validation import CheckSet, Proof, Verdict, judge, outcomes

MAX_SUBJECT, MAX_GOAL = 71, 2_000
CONVENTIONAL = re.compile(r"(feat|fix|docs|style|refactor|perf|test|build|ci|chore|revert)(\([\w ,./-]{1,30}\))?!?: \S")


@begins(Kind.VERIFY)
def begin_verify(run: Run) -> Step:
    return stopped_for_tokens(run) or (run, (RunProof(run.tree),))


def proof_ran(run: Run, event: ProofRan) -> Step:
    """What holds here is proved once more on another machine, where the settings ask for it."""
    if run.baseline is None:
        raise BugError("a proof needs a baseline")
    run, verdict = _judged(run.worked(event.seconds), run.baseline, event.proof)
    if run.request.settings.repeat_proof and verdict.outcome != "fail":
        return run, (RepeatProof(run.tree),)
    return _proven(to_gate(run), verdict)


def proof_repeated(run: Run, event: ProofRepeated) -> Step:
    """What the second machine saw is what counts: the first ran beside the model's build."""
    if event.baseline.tree != run.base_tree:
        raise BugError("the repeated baseline is another tree's")
    run, verdict = _judged(replace(run, baseline=event.baseline).worked(event.seconds), event.baseline, event.proof)
    return _proven(to_gate(run), verdict)


def _judged(run: Run, baseline: CheckSet, proof: Proof) -> tuple[Run, Verdict]:
    """A bug fix that no test reproduces is a problem once; after that it is a note."""
    if proof.head.tree != run.tree:
        raise BugError("a proof has to be about the tree as it is")
    plan = run.documents.plan
    is_bug = bool(plan and plan.is_bug) and not run.compiled.fixers
    insist = run.attempt == 1 and run.compiled.attempts > 1
    verdict = judge(
        baseline,
        proof,
        is_bug=is_bug,
        insist_on_reproduction=insist,
        tests_may_go=run.compiled.takes_tests_along,
        quarantine=run.request.settings.quarantine,
    )
    notes = tuple(Finding("harness", "minor", "verification", "changeset", note) for note in verdict.notes)
    problems = tuple(Finding("test", "major", f"verify:{p[:80]}", "changeset", p) for p in verdict.problems)
    kept = tuple(finding for finding in run.findings if finding.source == "policy")
    return replace(run, proof=proof, verdict=verdict, findings=merge(kept, problems, notes)), verdict


def _proven(run: Run, verdict: Verdict) -> Step:
    if verdict.outcome != "fail":
        return pass_gate(run, "" if verdict.outcome == "pass" else "not verified by tests")
    if run.compiled.fixers:
        return fail(
            run, RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, f"the fixer's changes do not hold: {'; '.join(verdict.problems)}"
        )
    return go_back(run, (Kind.IMPLEMENT, Kind.VERIFY), verdict.problems)


@begins(Kind.REVIEW)
def begin_review(run: Run) -> Step:
    """A fixer's own before and after report is evidence enough; a model's work is audited by another model."""
    if not run.compiled.fixers:
        chosen = next(choice for choice in run.compiled.choices if choice.role is Role.AUDITOR)
        built = next(phase.choice for phase in reversed(run.phases) if phase.kind is Kind.IMPLEMENT and phase.choice)
        return ask(run.with_phase(replace(run.phase, choice=apart(chosen, run.request.settings.models, built.model))))
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
    plan = run.documents.plan
    wanted = [criterion.id for criterion in (plan.criteria if plan else ())]
    try:
        audit = read(Audit, text_of(event))
    except AnswerError as error:
        return unusable(run, event, str(error))
    if missing := [name for name in wanted if name not in {verdict.id for verdict in audit.criteria}]:
        return unusable(run, event, f"criterion {missing[0]} has no verdict")
    audit = _resolved(run, replace(audit, criteria=tuple(v for v in audit.criteria if v.id in wanted)))
    found = (*_criterion_findings(audit), *_audit_findings(audit))
    run = to_gate(replace(run, documents=replace(run.documents, audit=audit), findings=merge(run.findings, found)))
    majors = tuple(f"{finding.place}: {finding.claim}" for finding in found if finding.severity == "major")
    if majors:
        return go_back(run, (Kind.IMPLEMENT, Kind.VERIFY, Kind.REVIEW), majors)
    return pass_gate(run)


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


def _criterion_findings(audit: Audit) -> tuple[Finding, ...]:
    found = []
    for verdict in audit.criteria:
        if verdict.verdict == "unmet":
            found.append(
                Finding("auditor", "major", f"criterion-{verdict.id}", verdict.id, "the criterion is not met", verdict.evidence)
            )
        elif verdict.verdict == "unverifiable":
            found.append(
                Finding(
                    "auditor",
                    "minor",
                    f"criterion-{verdict.id}",
                    verdict.id,
                    "the criterion could not be verified",
                    verdict.evidence,
                )
            )
    return tuple(found)


def _audit_findings(audit: Audit) -> tuple[Finding, ...]:
    return tuple(
        Finding("auditor", f.severity, f"{f.category}:{f.claim[:80]}", f.place, f.claim, f.evidence) for f in audit.findings
    )


@begins(Kind.PR)
def begin_delivery(run: Run) -> Step:
    """The commit holds exactly the tree that was tested and audited."""
    changeset = run.changeset
    if changeset is None or changeset.tree != run.tree or (run.proof is not None and run.proof.head.tree != run.tree):
        raise BugError("what would be delivered is not what was tested")
    return run, (Deliver(run.tree, branch_name(run), commit_message(run)),)


def commit_message(run: Run) -> str:
    """Conventional-Commits subject, the goal, and trailers that lead back to the session. What a model or an issue says names
    no person and closes no issue."""
    plan, seen = run.documents.plan, run.compiled.triage
    is_bug = bool(plan and plan.is_bug)
    kinds = {"docs": "docs", "tests": "test", "debt_cleanup": "refactor"}
    kind = "style" if run.compiled.fixers else "fix" if is_bug else kinds.get(seen.category, "feat")
    title = run.request.ticket.title.rstrip(".")
    if kind == "fix":
        title = re.sub(r"^(?:fix|fixes|fixed)(?::|\b)\s*", "", title, flags=re.IGNORECASE) or title
    lowered = title if title[1:2].isupper() else title[:1].lower() + title[1:]
    subject = title if CONVENTIONAL.match(title) else f"{kind}: {lowered}"
    trailers = f"Ostler-Session: {run.request.session}\nPlan-Digest: {short(run.contract)}"
    goal = plain(plan.goal if plan else title, MAX_GOAL)
    return f"{plain(subject, MAX_SUBJECT)}\n\n{goal}\n\n{trailers}\n"


def delivered(run: Run, event: Delivered) -> Step:
    return pass_gate(to_gate(replace(run, branch=event.branch, head_sha=event.head_sha, pull=event.pull)))
