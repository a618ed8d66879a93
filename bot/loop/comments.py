"""Every text that leaves for GitHub: comments, the pull request, the check run's summary, the summary of a job.

The templates hold the words. What a model or an issue said gets into them only through `bot.core.inert`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from bot.core.ageing import to_clean
from bot.core.auditing import CRITERION
from bot.core.board import MARK, PAUSE, Board, Box
from bot.core.cheats import yielding
from bot.core.comparing import cheapest, figures
from bot.core.errors import BugError
from bot.core.follow_up import Became, Cause, cause_of
from bot.core.forecast import level
from bot.core.inert import code, code_cell, inert, inert_cell, inert_line, plain
from bot.core.machines import PhaseState, RunState
from bot.core.phases import Kind, Role
from bot.core.policy import MAX_CHANGESET_BYTES, MAX_FILES
from bot.core.proving import commit_message
from bot.core.risk import diff_risk
from bot.core.run import Run, contract_digest, short
from bot.core.session import LABEL, STOP_LABEL, RolledBack, SessionState
from bot.core.settling import PhaseLine, Report, approval_waits, state_label, unshippable
from bot.core.shipping import UNPROVED
from bot.core.summary import (
    account,
    budget_line,
    by_model,
    cache_line,
    changed_files,
    checks,
    ci_line,
    phase_rows,
    planted_line,
    quote,
    second_opinion,
)
from bot.render import duration, say

MOST = 60_000
"""Characters of one text; GitHub refuses a comment of more than 65,536."""
TITLE = 120
"""Characters of a pull request's title; GitHub allows 256."""
FOLLOWED: Mapping[Cause, str] = {"review": "review", "fix": "fix", "fix-ci": "fix of checks", "checks": "fix of checks"}
NO_DRAFT = (
    "> [!WARNING]\n> **This is no draft:** GitHub has none in this repository. Nothing but its rules for branches and its people "
    "keep it from being merged before it was reviewed.\n\n"
)
"""Above the body of a pull request that should be a draft."""
WORDS = {"line": 600, "cell": 300, "block": 8_000}
"""Characters that are shown of one text of others."""

_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})(?:\[bot\])?")
_BUDGET = re.compile(r"Budget: [\w %$./(),~-]{1,100}")
_REPOSITORY = re.compile(r"(https?://[^\s()\[\]<>]+)/actions/")
_STATES = {str(state) for state in PhaseState} | {"LOST", "BILLED"}


def plan_comment(run: Run, state: SessionState, *, job_url: str) -> str:
    """The plan as the contract that a person approves.

    Raises:
        BugError: there is no plan yet.
    """
    plan, strategy, settings = run.documents.plan, run.compiled, run.request.settings
    if plan is None:
        raise BugError("a plan comment needs a plan")
    waits = run.waiting.text if run.waiting and run.waiting.what == "approval" else ""
    return _posted(
        "plan",
        state=state,
        plan=plan,
        yielding=yielding(plan),
        debts=to_clean(settings.experience.audits),
        standing=_approval(run, waits),
        waits=waits,
        over=run.over and run.state is not RunState.DONE_SUCCESS,
        done=run.state is RunState.DONE_SUCCESS,
        outcome=run.outcome,
        approved_by=run.approved_by,
        profile=run.workspace.profile if run.workspace else None,
        ci=ci_line(run),
        why_none=_why_no_approval(run),
        digest=run.contract or contract_digest(run),
        base=run.request.base_sha[:12],
        allowed=settings.allowed_paths,
        max_files=MAX_FILES,
        max_bytes=MAX_CHANGESET_BYTES,
        hidden=run.request.ticket.hidden,
        said=len(run.request.ticket.said),
        note=settings.note,
        sources=settings.sources,
        choices=strategy.choices,
        fixers=strategy.fixers,
        reviewer=next((choice for choice in strategy.choices if choice.role is Role.PLAN_REVIEWER), None),
        review=run.documents.plan_review,
        answers=run.documents.objection_answers,
        call_cap=min(strategy.call_cap, strategy.run_cap),
        quote=quote(run),
        limit_tokens=sum(limit.tokens for limit in strategy.limits),
        stop_loss=f"{100 * settings.rules.thresholds.stop_loss:.0f}",
        job_url=job_url,
        **_money(run),
    )


def pull_title(run: Run) -> str:
    """The subject of the commit, in Conventional-Commits style, and whether it was not proved."""
    return plain(commit_message(run).partition("\n")[0], TITLE) + (" (not proved)" if run.shipped_by else "")


def pull_body(run: Run, state: SessionState, *, job_url: str, one_machine: bool = False) -> str:
    """What was observed, and strictly apart from it what the model says about its work.

    `one_machine` is whether all jobs were parts of one, so that the repeated proof ran where the build had.
    """
    files = changed_files(run)
    sandbox = run.workspace.sandbox if run.workspace else None
    return _posted(
        "pull",
        run=run,
        state=state,
        files=files,
        owned=[file for file in files if file["owner"]],
        followed=run.request.ticket.title,
        sandbox=sandbox,
        held=sum(probe.ok for probe in sandbox.probes) if sandbox else 0,
        probes=tuple(dict.fromkeys(probe.name for probe in sandbox.probes)) if sandbox else (),
        ci=ci_line(run),
        unproved=UNPROVED,
        second_machine=run.request.settings.repeat_proof and not one_machine and not run.shipped_by,
        reproduced=run.verdict.reproduced if run.verdict else (),
        findings=run.findings,
        risk=diff_risk(run.changeset) if run.changeset else None,
        account=account(run),
        builder=_model_of(run, Kind.IMPLEMENT),
        models=by_model(run),
        changeset=run.changeset.digest if run.changeset else "",
        note=run.request.settings.note,
        job_url=job_url,
        **_money(run),
    )


def audit_comment(run: Run, state: SessionState, *, job_url: str) -> str:
    """What the auditor found, criterion by criterion, and what nobody looked at.

    Raises:
        BugError: there is no audit yet.
    """
    audit, plan = run.documents.audit, run.documents.plan
    if audit is None:
        raise BugError("an audit comment needs an audit")
    met = sum(verdict.verdict == "met" for verdict in audit.criteria)
    findings = [one for one in run.findings if one.source == "auditor" and not one.rule.startswith(CRITERION)]
    majors = sum(finding.severity == "major" for finding in findings)
    minors = len(findings) - majors
    found = [
        f"{count} {name} finding{'' if count == 1 else 's'}" for count, name in ((majors, "major"), (minors, "minor")) if count
    ]
    return _posted(
        "audit",
        run=run,
        state=state,
        audit=audit,
        headline=", ".join([f"{met} of {len(audit.criteria)} criteria met", *(found or ["no finding"])]),
        criteria={criterion.id: criterion.text for criterion in (plan.criteria if plan else ())},
        findings=findings,
        auditors=[opinion.choice for opinion in run.documents.opinions],
        second=second_opinion(run),
        planted=planted_line(run),
        builder=_model_of(run, Kind.IMPLEMENT),
        note=run.request.settings.note,
        job_url=job_url,
    )


def status_comment(state: SessionState, report: Report, *, seconds: float, job_url: str) -> str:
    """How the session stands after a workflow run, `seconds` after it was asked for, and what a person can do now."""
    repository = _REPOSITORY.match(job_url)
    delivered = bool(repository and state.head_sha)
    return _posted(
        "status",
        report=report,
        headline=_headline(state, seconds),
        branch_url=f"{repository[1]}/tree/{state.branch}" if repository and delivered else "",
        rows=_rows(report.phases),
        job_url=job_url,
        **_standing(state),
    )


def status_reply(state: SessionState | None) -> str:
    """The answer to `/ostler status`; None where the issue has no session."""
    if state is None:
        return _posted("status_reply", state=None)
    return _posted("status_reply", headline=_headline(state, None), **_standing(state))


def sessions_reply(states: Sequence[SessionState]) -> str:
    """The answer to `/ostler session` (one) and `/ostler compare` (several)."""
    only = states[0] if len(states) == 1 else None
    values = {"headline": _headline(only, None, mention=False), "said": _said(only)} if only else {"best": cheapest(states)}
    return _posted("sessions", only=only, rows=[figures(state) for state in states], span=_span, **values)


def help_reply() -> str:
    """The answer to `/ostler help`."""
    return _posted("help", stop_label=STOP_LABEL)


def refusal(text: str) -> str:
    """One line to somebody whose command is not carried out."""
    return _posted("refusal", text=text)


def thread_answer(outcome: Became, refused: str, head: str) -> str:
    """The answer in a thread of a review, after the follow-up whose commit is `head`."""
    return _posted("thread", outcome=outcome, refused=refused, head=head[:12])


def rolled_back(found: RolledBack) -> str:
    """The answer to `/ostler rollback`."""
    return _posted("rollback", found=found)


def dashboard(shown: Board, note: str) -> str:
    """The text of a repository's dashboard. A title can make no box: it stands in it as text."""
    return f"{MARK}\n{_posted('board', board=shown, note=note, pause=Box(PAUSE), state_label=state_label)}"


def check_summary(state: SessionState, report: Report | None, *, job_url: str) -> str:
    """What stands on the check run's page: numbers and our own names, no word of a model."""
    return _posted(
        "check",
        standing=_headline(state, None, mention=False),
        rows=_rows(report.phases) if report else [],
        died=report.died if report else (),
        note=report.note if report else "",
        job_url=job_url,
        **_standing(state),
    )


def step_summary(run: Run | None, job: str, *, told: str) -> str:
    """What a job leaves on its workflow run's page; `told` is what it has to say besides the figures."""
    values: dict[str, Any] = {"run": run, "job": job, "told": told, "note": run.request.settings.note if run else ""}
    if run:
        turns = {phase.id: phase.turns for phase in run.phases}
        money = _money(run)
        values |= {
            "rows": [(row, turns.get(row.id, 0)) for row in phase_rows(run)],
            "checks": checks(run),
            "money": f"{money['colour']} {money['budget']}".strip(),
            "cache": cache_line(run),
        }
    return _posted("step", **values)


# --- what the templates are given -------------------------------------------------------------------------------------


def _posted(name: str, **values: Any) -> str:
    """The text of `comments/<name>`, at most `MOST` characters, cut at the end of a line."""
    text = say(
        f"comments/{name}.md.j2",
        label=LABEL,
        line=partial(inert_line, limit=WORDS["line"]),
        cell=partial(inert_cell, limit=WORDS["cell"]),
        block=partial(inert, limit=WORDS["block"]),
        code=code,
        code_cell=code_cell,
        **values,
    )
    text = re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"
    if len(text) <= MOST:
        return text
    kept = text[:MOST].rpartition("\n")[0]
    return f"{kept}\n\n**Cut here:** {len(text) - len(kept):,} more characters are in the job's artifact, in `report.md`.\n"


def _approval(run: Run, waits: str) -> str:
    if waits:
        return "waits for approval"
    if run.approved_by:
        return f"approved by {inert_line(run.approved_by, 60)}"
    if run.over and run.state is not RunState.DONE_SUCCESS:
        return "not approved" if run.compiled.approval_reason else "stopped"
    return "no approval needed"


def _why_no_approval(run: Run) -> str:
    if run.request.settings.approval == "never":
        return "the repository's configuration asks for none"
    if run.compiled.fixers:
        return "a deterministic fixer does the work"
    seen = run.compiled.triage
    return f"this {seen.label} has {seen.risk} risk"


def _money(run: Run) -> dict[str, Any]:
    return {
        "spent": run.ledger.spent,
        "cap": run.ledger.run_cap,
        "budget": budget_line(run),
        "colour": _colour(run.ledger.spent, run.ledger.run_cap),
    }


def _colour(spent: int, cap: int) -> str:
    """The colour of the budget's level."""
    return {"SAFE": "🟢", "WARNING": "🟡"}.get(level(spent, cap), "🔴")


def _model_of(run: Run, kind: Kind) -> str:
    """The last model that worked on a phase of `kind`."""
    return next((phase.choice.model.model for phase in reversed(run.phases) if phase.kind is kind and phase.choice), "")


def _standing(state: SessionState) -> dict[str, Any]:
    return {
        "state": state,
        "waits_for_approval": approval_waits(state),
        "may_ship": not unshippable(state),
        "said": _said(state),
        "budget": state.budget_line if _BUDGET.fullmatch(state.budget_line) else "",
        "colour": _colour(state.spent, state.cap),
    }


def _said(state: SessionState) -> str:
    """Why it stands so, where its headline does not say it all."""
    if state.standing == "working" or approval_waits(state) or state.outcome in ("", "done", "nothing to change"):
        return ""
    return state.outcome[:1].upper() + state.outcome[1:]


def _headline(state: SessionState, seconds: float | None, *, mention: bool = True) -> str:
    """`Finished @alice's task in 3m 12s`, or what it waits for, or that it stopped. The requester is the only one mentioned."""
    who = _whose(state, mention=mention)
    took = _span(seconds) if seconds is not None else ""
    if approval_waits(state):
        return f"{who} waits for approval of plan `{short(state.plan_digest)}`"
    if state.standing == "waiting":
        return f"{who} waits for {'room under a cap that sessions share' if state.waits == 'shared' else 'a person'}"
    if state.standing == "working":
        return f"Working on {who}"
    if state.shipped:
        return f"Shipped {who} as a draft, not proved"
    if state.run_state == RunState.DONE_SUCCESS:
        return f"Finished {who}{f' in {took}' if took else ''}{'' if state.pull else ': nothing to change'}"
    return f"Stopped {who}{f' after {took}' if took else ''}"


def _whose(state: SessionState, *, mention: bool) -> str:
    """`@alice's task`, or what of hers a follow-up goes by."""
    if state.follow and not state.follow_by:
        return "the failed checks"
    what = FOLLOWED[cause_of(state.follow)] if state.follow else "task"
    by = state.follow_by or state.requested_by
    return f"@{by}'s {what}" if mention and _LOGIN.fullmatch(by) else f"{code(by, 60)}'s {what}"


def _span(seconds: float) -> str:
    """Like `duration`, but a session may wait for people for days."""
    if seconds < 3_600:
        return duration(max(seconds, 0))
    hours, minutes = divmod(round(seconds) // 60, 60)
    return f"{hours}h {minutes:02}m" if hours < 48 else f"{hours // 24} days"


def _rows(phases: tuple[PhaseLine, ...]) -> list[PhaseLine]:
    """The phases of a report whose names are ours; a job that was lost is named for its job."""
    return [row for row in phases if row.state in _STATES and re.fullmatch(r"[A-Za-z][A-Za-z ]{0,30}", row.kind)]
