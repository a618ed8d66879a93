"""Check runs over REST, and the buttons on them.

Only Apps write check runs, and each only its own. A button is there once the check run is completed, and goes to the App that
made it.
"""

from __future__ import annotations

from typing import Any

from bot.demo.hub import auth, shapes
from bot.demo.hub.git import SHA
from bot.demo.hub.hub import Hub
from bot.demo.hub.refusals import Refusal, not_found
from bot.demo.hub.rest_issues import moment
from bot.demo.hub.routing import PAGED, Answer, Call, Page, Route
from bot.demo.hub.state import CheckRun, Repository, Token, User

LONGEST_TEXT = 65_535
MOST_ANNOTATIONS, MOST_ACTIONS = 50, 3
_ACTION_LENGTHS = {"label": 20, "description": 40, "identifier": 20}
_STATUSES = frozenset(("queued", "in_progress", "completed"))
_CONCLUSIONS = frozenset(["action_required", "cancelled", "failure", "neutral", "success", "skipped", "timed_out"])
_ANNOTATION = {
    "path!": str,
    "start_line!": int,
    "end_line!": int,
    "start_column": int,
    "end_column": int,
    "annotation_level!": frozenset(("notice", "warning", "failure")),
    "message!": str,
    "title": str,
    "raw_details": str,
}
_IMAGE = {"alt!": str, "image_url!": str, "caption": str}
_OUTPUT = {"title!": str, "summary!": str, "text": str, "annotations": [_ANNOTATION], "images": [_IMAGE]}
_BODY = {
    "details_url": str,
    "external_id": str,
    "status": _STATUSES,
    "started_at": str,
    "conclusion": _CONCLUSIONS,
    "completed_at": str,
    "output": _OUTPUT,
    "actions": [{"label!": str, "description!": str, "identifier!": str}],
}
_FILTERS = PAGED | {"check_name": str, "status": _STATUSES, "filter": frozenset(("latest", "all")), "app_id": int}


def _shape(call: Call, one: CheckRun) -> dict[str, Any]:
    return shapes.check_run(call.hub, call.repository, one)


def _too_long(given: int, most: int) -> Refusal:
    return Refusal(422, f"Invalid request.\n\nOnly {most} characters are allowed; {given} were supplied.")


def _judge(body: dict[str, Any]) -> None:
    """422 for what the schema can't say: sizes, and a status that doesn't go with the conclusion."""
    output = body.get("output", {})
    for name in ("title", "summary", "text"):
        if len(output.get(name, "")) > LONGEST_TEXT:
            raise _too_long(len(output[name]), LONGEST_TEXT)
    if len(output.get("annotations", [])) > MOST_ANNOTATIONS:
        raise Refusal(422, f"Invalid request.\n\nNo more than {MOST_ANNOTATIONS} items are allowed.")
    if len(body.get("actions", [])) > MOST_ACTIONS:
        raise Refusal(
            422, f"Invalid request.\n\nNo more than {MOST_ACTIONS} items are allowed; {len(body['actions'])} were supplied."
        )
    for action in body.get("actions", []):
        for name, most in _ACTION_LENGTHS.items():
            if len(action[name]) > most:
                raise _too_long(len(action[name]), most)
    if body.get("status") == "completed" and "conclusion" not in body:
        raise Refusal(422, 'Invalid request.\n\n"conclusion" wasn\'t supplied.')
    if "conclusion" in body and body.get("status", "completed") != "completed":
        raise Refusal(422, f"Invalid request.\n\nA check run that is {body['status']} has no conclusion.")


def _owner(call: Call) -> int:
    """The App that writes; people get 403."""
    if call.token is None or call.token.permissions is None or call.token.app_id is None:
        raise Refusal(403, "You must authenticate via a GitHub App.")
    return call.token.app_id


def create(call: Call) -> Answer:
    hub, home, body = call.hub, call.repository, call.body
    _judge(body)
    app_id, sha = _owner(call), body["head_sha"]
    if not SHA.match(sha) or hub.bare(home).type_of(sha) != "commit":
        raise Refusal(422, f"No commit found for SHA: {sha}")
    suite = home.suites.setdefault((sha, app_id), hub.state.next_id())
    made = CheckRun(hub.state.next_id(), body["name"], sha, app_id, suite)
    made.started_at = hub.now()
    _take(call, made)
    home.checks[made.id] = made
    _tell(hub, home, "created", made, call.token)
    if made.status == "completed":
        _tell(hub, home, "completed", made, call.token)
    return Answer(_shape(call, made), 201)


def _take(call: Call, check: CheckRun) -> None:
    """What a body says about a check run, which has been judged before."""
    body = call.body
    for name in ("name", "details_url", "external_id", "actions"):
        if name in body:
            setattr(check, name, body[name])
    for name in ("started_at", "completed_at"):
        if name in body:
            setattr(check, name, moment(body[name]))
    if "conclusion" in body:
        check.status, check.conclusion = "completed", body["conclusion"]
        check.completed_at = moment(body["completed_at"]) if "completed_at" in body else call.hub.now()
    elif "status" in body:
        check.status, check.conclusion, check.completed_at = body["status"], None, None
    if "output" in body:
        output = body["output"]
        check.title, check.summary, check.text = (output.get(name, getattr(check, name)) for name in ("title", "summary", "text"))
        check.annotations += output.get("annotations", [])


def _tell(hub: Hub, home: Repository, action: str, check: CheckRun, by: Token | User | None, **more: Any) -> None:
    only = check.app_id if action in ("requested_action", "rerequested") else None
    if by is not None:
        hub.emit("check_run", action, home, {"check_run": shapes.check_run(hub, home, check)} | more, by, only_app=only)


def check_of(call: Call) -> CheckRun:
    found = call.repository.checks.get(call.path["id"])
    if found is None:
        raise not_found()
    return found


def get(call: Call) -> dict[str, Any]:
    return _shape(call, check_of(call))


def update(call: Call) -> dict[str, Any]:
    check = check_of(call)
    if check.app_id != _owner(call):
        raise Refusal(403, f"Invalid app_id `{_owner(call)}` - check run can only be modified by the GitHub App that created it.")
    _judge(call.body)
    before = check.status
    _take(call, check)
    if check.status == "completed" != before:
        _tell(call.hub, call.repository, "completed", check, call.token)
    return _shape(call, check)


def listed_annotations(call: Call) -> Page:
    nothing = dict.fromkeys(("start_column", "end_column", "title", "raw_details"))
    blob = f"{shapes.html(call.hub, call.repository)}/blob/{check_of(call).head_sha}"
    return Page([nothing | one | {"blob_href": f"{blob}/{one['path']}"} for one in check_of(call).annotations])


def listed(call: Call) -> Page:
    """Check runs of a commit, newest first; `latest` is one per name and App."""
    query = call.query
    sha = call.hub.bare(call.repository).resolve(call.path["ref"])
    if sha is None:
        raise Refusal(422, f"No commit found for SHA: {call.path['ref']}")
    found = sorted((one for one in call.repository.checks.values() if one.head_sha == sha), key=lambda one: -one.id)
    if query.get("filter", "latest") == "latest":
        newest: dict[tuple[str, int], CheckRun] = {}
        for one in found:
            newest.setdefault((one.name, one.app_id), one)
        found = list(newest.values())
    wanted = {"name": query.get("check_name"), "status": query.get("status"), "app_id": query.get("app_id")}
    shown = [one for one in found if all(value in (None, getattr(one, name)) for name, value in wanted.items())]
    return Page([_shape(call, one) for one in shown], "check_runs")


# Buttons


def press(hub: Hub, home: Repository, check: CheckRun, identifier: str, user: User) -> None:
    """Somebody presses a button: 404 unless it is there. The caller holds the lock and knows that the person may."""
    if check.status != "completed" or identifier not in [one["identifier"] for one in check.actions]:
        raise not_found()
    _tell(hub, home, "requested_action", check, user, requested_action={"identifier": identifier})


def pressed(call: Call) -> Answer:
    press(call.hub, call.repository, check_of(call), call.body["identifier"], call.user)
    return Answer(status=204)


def rerequest(call: Call) -> Answer:
    check = check_of(call)
    if call.token is not None and call.token.permissions is not None and check.app_id != call.token.app_id:
        raise auth.not_accessible()
    _tell(call.hub, call.repository, "rerequested", check, call.token)
    return Answer({}, 201)


def routes(_: Hub) -> list[Route]:
    base = "/repos/{owner}/{repo}/check-runs"
    one = f"{base}/{{id:int}}"
    required = {"name!": str, "head_sha!": str}
    return [
        Route("POST", base, create, "checks:write", body=required | _BODY),
        Route("GET", one, get, "checks:read"),
        Route("PATCH", one, update, "checks:write", body={"name": str} | _BODY),
        Route("GET", f"{one}/annotations", listed_annotations, "checks:read", query=PAGED),
        Route("POST", f"{one}/rerequest", rerequest, "checks:write"),
        Route("GET", "/repos/{owner}/{repo}/commits/{ref:rest}/check-runs", listed, "checks:read", query=_FILTERS),
        # No part of GitHub's API: what the button on the page does.
        Route(
            "POST", "/{owner}/{repo}/runs/{id:int}/press", pressed, "contents:write",
            body={"identifier!": str}, door="person", base="",
        ),
    ]  # fmt: skip
