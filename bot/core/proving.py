"""VERIFY and PR: what the harness saw decides."""

from __future__ import annotations

import re
from dataclasses import replace

from bot.core.effects import Deliver, RepeatProof, RunBaseline, RunProof
from bot.core.errors import BugError
from bot.core.events import Delivered, ProofRan, ProofRepeated
from bot.core.findings import Finding, merge
from bot.core.flow import begins, fail, go_back, pass_gate, to_gate
from bot.core.inert import plain
from bot.core.machines import RunState
from bot.core.phases import Kind
from bot.core.run import Run, Step, branch_name, short
from bot.core.spending import stopped_for_tokens
from bot.core.validation import CheckSet, Proof, Verdict, judge

MAX_SUBJECT, MAX_GOAL = 71, 2_000
CONVENTIONAL = re.compile(r"(feat|fix|docs|style|refactor|perf|test|build|ci|chore|revert)(\([\w ,./-]{1,30}\))?!?: \S")


@begins(Kind.VERIFY)
def begin_verify(run: Run) -> Step:
    """A base that moved is looked at like the first one."""
    if run.baseline is None or run.baseline.tree != run.base_tree:
        return run, (RunBaseline(run.base_tree),)
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
    """A bug fix that no test reproduces is a problem once; after that, and on a base that moved, it is a note."""
    if proof.head.tree != run.tree:
        raise BugError("a proof has to be about the tree as it is")
    plan = run.documents.plan
    is_bug = bool(plan and plan.is_bug) and not run.compiled.fixers
    insist = run.attempt == 1 and run.compiled.attempts > 1 and not run.moves
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
    kept = tuple(finding for finding in run.findings if finding.source in ("policy", "auditor"))
    return replace(run, proof=proof, verdict=verdict, findings=merge(kept, problems, notes)), verdict


def _proven(run: Run, verdict: Verdict) -> Step:
    if verdict.outcome != "fail":
        return pass_gate(run, "" if verdict.outcome == "pass" else "not verified by tests")
    if run.compiled.fixers:
        return fail(
            run, RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, f"the fixer's changes do not hold: {'; '.join(verdict.problems)}"
        )
    return go_back(run, (Kind.IMPLEMENT, Kind.VERIFY), verdict.problems)


@begins(Kind.PR)
def begin_delivery(run: Run) -> Step:
    """The commit holds exactly the tree that was tested and audited."""
    changeset = run.changeset
    if changeset is None or changeset.tree != run.tree or (run.proof is not None and run.proof.head.tree != run.tree):
        raise BugError("what would be delivered is not what was tested")
    return run, (Deliver(run.tree, branch_name(run), commit_message(run)),)


def commit_message(run: Run) -> str:
    """Conventional-Commits subject, the goal, and trailers that name who asked and lead back to the session. What a model or an
    issue says names no person and closes no issue."""
    plan, seen = run.documents.plan, run.compiled.triage
    is_bug = bool(plan and plan.is_bug)
    kinds = {"docs": "docs", "tests": "test", "debt_cleanup": "refactor"}
    kind = "style" if run.compiled.fixers else "fix" if is_bug else kinds.get(seen.category, "feat")
    title = run.request.ticket.title.rstrip(".")
    if kind == "fix":
        title = re.sub(r"^(?:fix|fixes|fixed)(?::|\b)\s*", "", title, flags=re.IGNORECASE) or title
    lowered = title if title[1:2].isupper() else title[:1].lower() + title[1:]
    subject = title if CONVENTIONAL.match(title) else f"{kind}: {lowered}"
    asked = f"Co-authored-by: {run.request.requester}\n" if run.request.requester else ""
    trailers = f"{asked}Ostler-Session: {run.request.session}\nPlan-Digest: {short(run.contract)}"
    goal = plain(plan.goal if plan else title, MAX_GOAL)
    return f"{plain(subject, MAX_SUBJECT)}\n\n{goal}\n\n{trailers}\n"


def delivered(run: Run, event: Delivered) -> Step:
    return pass_gate(to_gate(replace(run, branch=event.branch, head_sha=event.head_sha, pull=event.pull)))
