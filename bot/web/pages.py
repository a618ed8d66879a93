"""The page of a run, for whoever has the link from the check run. Server-rendered, no script; numbers and names of ours only."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass

from bot.core.budget import dollars
from bot.core.session import SessionState
from bot.core.settling import PhaseLine, state_label, view
from bot.github.plain import site_of
from bot.render import render
from bot.store.runs import Moment, Row
from bot.web.office import Office

SESSION = re.compile(r"issue-[0-9]{1,10}-[0-9a-f]{8}_[0-9]{8}_[0-9]{6}")
HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",  # the address holds the key
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the timeline."""

    at: str
    title: str
    detail: str
    spent: str
    workflow_run: int


def run_page(office: Office, session: str, key: str) -> str | None:
    """The page, or None: no such session, or not the key that opens it. Which of the two is nobody's business."""
    if not SESSION.fullmatch(session) or not hmac.compare_digest(
        office.page_key(session).encode(), key.encode("utf-8", "replace")
    ):
        return None
    row = office.runs.get(session)
    if row is None:
        return None
    history = office.runs.history(session)
    report = next((moment.report for moment in reversed(history) if moment.report), None)
    state, seen = row.state, view(row.state)
    return render(
        "pages/app_run.html.j2",
        row=row,
        state=state,
        title=row.title or f"Issue #{row.issue}",
        heading=seen.title,
        badge=badge(state),
        label=state_label(state),
        note=report.note if report else "",
        percent=min(100, 100 * state.spent // state.cap) if state.cap else 0,
        phases=phases(report.phases if report else ()),
        timeline=timeline(history),
        links=links(office, row),
    )


def badge(state: SessionState) -> tuple[str, str]:
    """(colour, word)."""
    if state.standing == "working":
        return "warn", "working"
    if state.standing == "waiting":
        return "warn", "waits for room" if state.waits == "shared" else "waits for a person"
    return ("good", "done") if state.run_state == "DONE_SUCCESS" else ("bad", "stopped")


def phases(lines: tuple[PhaseLine, ...]) -> list[dict[str, object]]:
    return [{"kind": line.kind, "state": line.state, "calls": line.calls, "cost": dollars(line.cost)} for line in lines]


def timeline(history: list[Moment]) -> list[Line]:
    """What happened, in the order of the states; the newest last."""
    lines = []
    for moment in history:
        state = moment.state
        at = state.issued_at[:19].replace("T", " ")
        detail = ", ".join(f"{name} died" for name in moment.report.died) if moment.report else ""
        lines.append(Line(at, view(state).title, detail, dollars(state.spent), state.working_run))
    return lines


def links(office: Office, row: Row) -> list[tuple[str, str]]:
    """(text, address) of what the session is about."""
    site = f"{site_of(office.settings.github_api_url)}/{row.repo}"
    found = [(f"{row.repo}#{row.issue}", f"{site}/issues/{row.issue}")]
    if row.state.pull:
        found.append((f"Pull request #{row.state.pull}", f"{site}/pull/{row.state.pull}"))
    if workflow_run := row.state.working_run or row.state.artifact_run:
        found.append(("Workflow run", f"{site}/actions/runs/{workflow_run}"))
    return found
