"""What jobs of a workflow ask the App: what configures sessions of the repository, may this workflow run go on with the session,
and this is how it went.

A job proves itself with GitHub's identity token for it. What it says is believed about its own workflow run only: the token must
be of the session's repository, of the released workflow, on the default branch, and of the workflow run that the session has.
"""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import asdict
from typing import Any

from bot.core.budget import Shortfall
from bot.core.errors import PolicyError
from bot.core.experience import frozen
from bot.core.queue import Priority
from bot.core.session import SessionState
from bot.core.settling import Report, read_report, settle
from bot.core.triggers import moment
from bot.github import oidc
from bot.store.runs import Row
from bot.telemetry import Dispatched, Judged, Settled
from bot.web import allowances, starting
from bot.web.moves import short_of_room, still_stopped
from bot.web.office import Office, Place

ENDPOINTS = ("defaults", "claim", "settle")
EVENTS = ("issues", "issue_comment", "workflow_dispatch", "schedule")
MAX_BYTES = 500_000
KEPT = 3600.0
"""Seconds that a token is remembered after it ended."""


class Refused(Exception):
    """What a job is answered instead; `status` is HTTP's."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Desk:
    """Answers jobs. Every question may be asked twice."""

    def __init__(self, office: Office, keys: oidc.Keys | None = None) -> None:
        self._office = office
        self._keys = keys or oidc.Keys.of(office.settings.oidc_issuer)

    def answer(self, endpoint: str, authorization: str, raw: bytes) -> dict[str, Any]:
        """The answer to `endpoint` (one of `ENDPOINTS`).

        Raises:
            Refused: 401 no good token, 403 another's, 409 not now, 422 not such a question.
        """
        claims = self._claims(endpoint, authorization, raw)
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            raise Refused(422, "The request is not JSON.") from None
        if not isinstance(body, dict):
            raise Refused(422, "The request is not a JSON object.")
        if endpoint == "defaults":
            return self._defaults(claims)
        return self._claim(claims, body) if endpoint == "claim" else self._settle(claims, body)

    # --- who asks ---

    def _claims(self, endpoint: str, authorization: str, raw: bytes) -> oidc.Claims:
        office, settings = self._office, self._office.settings
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer" or not token:
            raise Refused(401, "The request has no identity token.")
        now = office.clock()
        try:
            claims = oidc.verify(token.strip(), self._keys, issuer=settings.oidc_issuer, audience=settings.origin, now=now)
        except PolicyError as error:
            raise Refused(401, str(error)) from None
        if not claims.job_workflow_ref.startswith(settings.workflow_ref_prefix):
            raise Refused(403, f"The workflow {claims.job_workflow_ref} is not the one that is trusted here.")
        if claims.event_name not in EVENTS:
            raise Refused(403, f"A workflow run on {claims.event_name} may not ask.")
        if not office.runs.first_use(endpoint, claims.jti, raw, claims.expires_at + KEPT, now):
            raise Refused(401, "The identity token was used before, for another request.")
        return claims

    def _of_repository(self, claims: oidc.Claims, row: Row | None) -> Row:
        if row is None:
            raise Refused(403, "There is no such session in the token's repository.")
        if claims.repository_id != row.repo_id:
            raise Refused(403, "The session belongs to another repository.")
        if claims.ref != f"refs/heads/{row.default_branch}":
            raise Refused(403, f"The workflow run is on {claims.ref}, not on the default branch.")
        return row

    def _known(self, claims: oidc.Claims, session: str, issue: int) -> Row | None:
        """The session's row; where the database has none, GitHub's state of it."""
        office = self._office
        if row := office.runs.get(session):
            return row
        place = self._place(claims)
        state = office.recover(place, issue, session) if place else None
        return starting.adopt(office, place, state, "", Priority.NORMAL) if place and state else None

    def _place(self, claims: oidc.Claims) -> Place | None:
        place = self._office.access.place(claims.repository)
        return place if place and place.id == claims.repository_id else None

    # --- what configures it ---

    def _defaults(self, claims: oidc.Claims) -> dict[str, Any]:
        """The files beneath the repository's own: the App's defaults, and over them its owner's."""
        place = self._place(claims)
        if place is None:
            raise Refused(403, "The App is not installed in the token's repository.")
        if claims.ref != f"refs/heads/{place.default_branch}":
            raise Refused(403, f"The workflow run is on {claims.ref}, not on the default branch.")
        files = self._office.defaults(place)
        return {"files": [{"name": one.name, "commit": one.commit, "raw": b64encode(one.raw).decode()} for one in files]}

    # --- may it go on ---

    def _claim(self, claims: oidc.Claims, body: dict[str, Any]) -> dict[str, Any]:
        issue, session = body.get("issue"), body.get("session")
        number, attempt = body.get("run_id"), body.get("run_attempt")
        limits = allowances.read_limits(body.get("limits"))
        if not (type(issue) is int and type(session) is str and type(number) is int and type(attempt) is int and limits):
            raise Refused(422, "A claim has an issue, a session, a run_id, a run_attempt and limits.")
        if not 0 < issue < 2**31 or len(session) > 120:
            raise Refused(422, "A claim's issue and session are those of a session.")
        if (number, attempt) != (claims.run_id, claims.run_attempt):
            raise Refused(403, "The token is another workflow run's.")
        found = self._known(claims, session, issue) if session else None
        if found is None and (place := self._place(claims)):
            found = starting.begin(self._office, place, issue)
            if found is not None and session not in ("", found.id):
                found = None
        if found is None:
            return _no("there is no such session")
        row = self._of_repository(claims, found)
        if row.issue != issue:
            raise Refused(403, "The session belongs to another issue.")
        self._office.queue.allow(row.repo_id, limits.per_repository)
        return self._bound(row, claims.run_id, limits)

    def _bound(self, row: Row, number: int, limits: allowances.Limits) -> dict[str, Any]:
        """Go on where this workflow run is the session's, or becomes it because none is. All others are sent away (R11).

        Nobody goes on before GitHub shows it: were the database lost, a run that nobody knows of would spend unseen.
        """
        office = self._office
        if row.lane == "new":
            row = starting.prepare(office, row)
        if not row.state.working_run and row.state.standing == "working":
            if office.queue.bind(row.state, number, office.at, office.clock()) is not None:
                office.telemetry.tell(Dispatched(row.id, number, "claimed"))
            row = office.held(row.id)
        if row.state.working_run == number and row.state.standing == "working":
            allowance = allowances.grant(office, row, number, limits)
            if isinstance(allowance, Shortfall):
                return self._no_room(row, number, allowance)
            if row.shown < row.state.seq:
                row = office.show(row.id)
            known = frozen(office.accounts.experience(str(row.repo_id)))
            said = {"state": asdict(row.state), "allowance": asdict(allowance), "experience": asdict(known)}
            return {"go": True, "why": "", **said}
        office.queue.refused(row.repo_id, number, row.id)
        return _no(_why_not(row.state))

    def _no_room(self, row: Row, number: int, short: Shortfall) -> dict[str, Any]:
        """The session waits, and this workflow run is sent away before it asks a model."""
        office, why = self._office, allowances.why_none(short)

        def move(state: SessionState) -> SessionState:
            mine = state.working_run == number and state.standing == "working"
            return short_of_room(state, why, short.needed, office.at) if mine else state

        office.change(row.id, move)
        office.show(row.id)
        return _no(why)

    # --- how it went ---

    def _settle(self, claims: oidc.Claims, body: dict[str, Any]) -> dict[str, Any]:
        try:
            report = read_report(body.get("report"))
        except PolicyError as error:
            raise Refused(422, str(error)) from None
        if report.workflow_run != claims.run_id:
            raise Refused(403, "The report is another workflow run's.")
        row = self._of_repository(claims, self._known(claims, report.session, report.issue))
        with self._office.right(row.id):
            after = self._settled(row, report)
            if after.shown < after.state.seq:
                self._office.show(row.id, report)
        self._office.queue.at_once(row.id)
        self._office.wake.set()
        return {"state": asdict(after.state)}

    def _settled(self, row: Row, report: Report) -> Row:
        office = self._office

        def move(state: SessionState) -> SessionState:
            if state.working_run not in (0, report.workflow_run):
                if report.workflow_run == state.artifact_run:
                    return state  # settled long ago, and another goes on
                raise Refused(403, "Another workflow run works on the session.")
            return still_stopped(state, settle(state, report, office.at))

        before = office.held(row.id).state
        try:
            after = office.change(row.id, move, report)
        except PolicyError as error:
            raise Refused(409, str(error)) from None
        if not after.state.working_run:
            allowances.settle(office, after)
            name = f"{report.session}/{report.runs}"
            office.accounts.learn(str(after.repo_id), name, report.experience, office.at[:10])
        if after.state.seq != before.seq and not after.state.working_run:
            seconds = office.clock() - moment(before.issued_at).timestamp() if before.issued_at else 0.0
            cost = after.state.spent - before.spent
            office.telemetry.tell(Settled(row.id, after.state.standing, after.state.run_state, cost, seconds))
            for one in report.experience.audits:
                office.telemetry.tell(Judged(row.id, one.points, one.disagreed, one.planted))
        return after


def _no(why: str) -> dict[str, Any]:
    return {"go": False, "why": why, "state": None}


def _why_not(state: SessionState) -> str:
    if state.standing == "over":
        return "the session is over"
    if state.standing == "waiting":
        return state.outcome if state.waits == "shared" else "the session waits for a person"
    return f"the workflow run {state.working_run} works on it" if state.working_run else "the repository has no room"
