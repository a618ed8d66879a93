"""The stand-in's pages: issues, pull requests, checks and runs as a maintainer reads them. No script, nothing from elsewhere.

Whoever adds `?as=LOGIN` is that person from then on (a cookie, for the demo only): then the buttons of check runs can be pressed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any
from urllib.parse import parse_qs

import anyio.to_thread
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute
from starlette.routing import Route as RawRoute

from bot.demo.hub import auth, rest_checks, run_shapes
from bot.demo.hub.git import FileDiff
from bot.demo.hub.hub import Hub
from bot.demo.hub.marked import markdown
from bot.demo.hub.refusals import Refusal, not_found
from bot.demo.hub.state import CheckRun, Comment, Issue, IssueEvent, Reaction, Repository, Review, User
from bot.render import render

COOKIE = "demo_login"
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer a browser's Origin would be null when a button is pressed
    "cache-control": "no-store",
}
EMOJI = {"+1": "👍", "-1": "👎", "laugh": "😄", "hooray": "🎉", "confused": "😕", "heart": "❤️", "rocket": "🚀", "eyes": "👀"}


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody looks at a page of a repository; `user` is None for who isn't signed in."""

    hub: Hub
    home: Repository
    path: dict[str, Any]
    user: User | None

    @property
    def base(self) -> str:
        return f"/{self.home.full_name}"

    def marked(self, text: str | None) -> Markup:
        return markdown(text or "", self.base)

    def issue(self) -> Issue:
        found = self.home.issues.get(self.path["number"])
        if found is None:
            raise not_found()
        return found


Builder = Callable[[Visit], tuple[str, dict[str, Any]]]


def _reactions(given: Sequence[Reaction]) -> list[tuple[str, str, int]]:
    """(emoji, name, how many) of those that were given."""
    return [(EMOJI[word], word, count) for word in EMOJI if (count := sum(one.content == word for one in given))]


def _entry(visit: Visit, one: Comment | IssueEvent | Review) -> dict[str, Any]:
    """One entry of a conversation, as the template takes it."""
    if isinstance(one, IssueEvent):
        return {
            "kind": "event",
            "who": one.actor,
            "at": one.created_at,
            "event": one.event,
            "label": one.label,
            "rename": one.rename,
        }
    if isinstance(one, Review):
        return {
            "kind": "review",
            "who": one.user,
            "at": one.submitted_at,
            "state": one.state,
            "html": visit.marked(one.body),
            "id": one.id,
        }
    return {
        "kind": "comment",
        "who": one.user,
        "at": one.created_at,
        "edited": one.updated_at > one.created_at,
        "html": visit.marked(one.body),
        "reactions": _reactions(one.reactions),
        "id": one.id,
    }


def _conversation(visit: Visit, issue: Issue) -> list[dict[str, Any]]:
    reviews = list(issue.pull.reviews.values()) if issue.pull else []
    said: list[Comment | IssueEvent | Review] = [*issue.comments.values(), *issue.events, *reviews]
    return sorted((_entry(visit, one) for one in said), key=lambda entry: entry["at"])


def _labels(visit: Visit, names: Sequence[str]) -> list[tuple[str, str]]:
    known = visit.home.labels
    return [(name, known[name.lower()].color if name.lower() in known else "ededed") for name in names]


def _checks(visit: Visit, sha: str) -> list[CheckRun]:
    """The latest of each name and App on a commit."""
    newest = {
        (one.name, one.app_id): one for one in sorted(visit.home.checks.values(), key=attrgetter("id")) if one.head_sha == sha
    }
    return list(newest.values())


def _discussed(visit: Visit, issue: Issue) -> dict[str, Any]:
    return {
        "issue": issue,
        "body": visit.marked(issue.body),
        "labels": _labels(visit, issue.labels),
        "reactions": _reactions(issue.reactions),
        "conversation": _conversation(visit, issue),
    }


def issue_page(visit: Visit) -> tuple[str, dict[str, Any]]:
    issue = visit.issue()
    return ("pull", pull_values(visit, issue)) if issue.pull else ("issue", _discussed(visit, issue))


def pull_page(visit: Visit) -> tuple[str, dict[str, Any]]:
    issue = visit.issue()
    if issue.pull is None:
        raise not_found()
    return "pull", pull_values(visit, issue)


def pull_values(visit: Visit, issue: Issue) -> dict[str, Any]:
    pull = issue.pull
    if pull is None:
        raise not_found()
    bare = visit.hub.bare(visit.home)
    fork = bare.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha
    return _discussed(visit, issue) | {
        "pull": pull,
        "checks": _checks(visit, pull.head_sha),
        "commits": list(reversed(bare.log(pull.head_sha, most=100, without=pull.base_sha))),
        "files": [_file(one) for one in bare.diff(fork, pull.head_sha)],
        "threads": sorted(pull.review_comments.values(), key=lambda one: (one.path, one.line, one.id)),
    }


def _file(one: FileDiff) -> dict[str, Any]:
    """A file's diff: each line with the class it is shown in."""
    classes = {"+": "a", "-": "d", "@": "h", "\\": "h"}
    lines = [(classes.get(line[:1], ""), line) for line in one.patch.split("\n")] if one.patch else []
    return {"diff": one, "lines": lines}


def check_page(visit: Visit) -> tuple[str, dict[str, Any]]:
    check = visit.home.checks.get(visit.path["id"])
    if check is None:
        raise not_found()
    may = visit.user is not None and auth.role_reaches(visit.home, visit.user, "write")
    text = check.text or ""
    return "check", {
        "check": check,
        "app": visit.hub.state.apps[check.app_id],
        "summary": visit.marked(check.summary),
        "text": text,
        "may_press": may and check.status == "completed",
    }


def commit_page(visit: Visit) -> tuple[str, dict[str, Any]]:
    bare = visit.hub.bare(visit.home)
    sha = bare.resolve(visit.path["sha"])
    commit = bare.commit(sha) if sha else None
    if commit is None:
        raise not_found()
    files = bare.diff(commit.parents[0] if commit.parents else bare.write_tree([]), commit.sha)
    return "commit", {"commit": commit, "checks": _checks(visit, commit.sha), "files": [_file(one) for one in files]}


def run_page(visit: Visit) -> tuple[str, dict[str, Any]]:
    run = visit.home.runs.get(visit.path["id"])
    if run is None:
        raise not_found()
    kept = [one for one in visit.home.artifacts.values() if one.run_id == run.id]
    jobs = run_shapes.jobs(run)
    return "run", {
        "run": run,
        "jobs": jobs,
        "summaries": {job.id: visit.marked(job.summary) for job in jobs if job.summary},
        "earlier": [(number, run_shapes.jobs(run, number)) for number in sorted(run.records) if number < run.attempt],
        "artifacts": sorted(kept, key=attrgetter("id")),
        "now": visit.hub.now(),
    }


def home_page(visit: Visit) -> tuple[str, dict[str, Any]]:
    opened = [one for one in sorted(visit.home.issues.values(), key=lambda one: -one.number) if one.state == "open"]
    readme = visit.hub.bare(visit.home).file(visit.home.default_branch, "README.md")
    return "home", {
        "issues": [(one, _labels(visit, one.labels)) for one in opened if one.pull is None],
        "pulls": [(one, _labels(visit, one.labels)) for one in opened if one.pull is not None],
        "closed": sum(one.state == "closed" for one in visit.home.issues.values()),
        "runs": sorted(visit.home.runs.values(), key=lambda one: -one.id)[:20],
        "readme": visit.marked(readme.decode("utf-8", "replace")) if readme else None,
    }


# The door


def _visit(hub: Hub, request: Request) -> Visit:
    """404 unless the repository is seen by whoever is signed in."""
    path = dict(request.path_params)
    login = request.query_params.get("as") or request.cookies.get(COOKIE, "")
    user = hub.state.user(login) if login else None
    home = hub.state.repository(f"{path['owner']}/{path['repo']}")
    if home is None or (home.private and (user is None or home.role(user) is None)):
        raise not_found()
    return Visit(hub, home, path, user)


def _shown(hub: Hub, request: Request, build: Builder) -> Response:
    with hub.state.lock:
        try:
            visit = _visit(hub, request)
            name, values = build(visit)
        except Refusal as refusal:
            text = render("pages/hub/missing.html.j2", message=refusal.message, base="", home=None, user=None)
            return Response(text, refusal.status, HEADERS, "text/html")
        text = render(f"pages/hub/{name}.html.j2", home=visit.home, base=visit.base, user=visit.user, hub=hub, **values)
    response = Response(text, 200, HEADERS, "text/html")
    if visit.user and "as" in request.query_params:
        response.set_cookie(COOKIE, visit.user.login, httponly=True, samesite="strict")
    return response


def _pressed(hub: Hub, request: Request, body: bytes) -> Response:
    """A button of a check run, pressed by who is signed in; back to the page then."""
    identifier = parse_qs(body.decode("utf-8", "replace")).get("identifier", [""])[0]
    try:
        with hub.state.lock:
            back = _press(_visit(hub, request), request.headers.get("origin", hub.url), identifier)
    except Refusal as refusal:
        return Response(f"{refusal.message}\n", refusal.status, HEADERS, "text/plain")
    return RedirectResponse(back, 303)


def _press(visit: Visit, origin: str, identifier: str) -> str:
    check = visit.home.checks.get(visit.path["id"])
    if check is None:
        raise not_found()
    if visit.user is None or not auth.role_reaches(visit.home, visit.user, "write"):
        raise Refusal(403, "Only somebody with write permission presses a button.")
    if origin != visit.hub.url:
        raise Refusal(403, "This button was pressed on another site.")
    rest_checks.press(visit.hub, visit.home, check, identifier, visit.user)
    return f"{visit.base}/runs/{check.id}"


def routes(hub: Hub) -> list[BaseRoute]:
    """All pages, and the buttons."""

    def page(path: str, build: Builder) -> RawRoute:
        async def shown(request: Request) -> Response:
            return await anyio.to_thread.run_sync(_shown, hub, request, build)

        return RawRoute(f"/{{owner}}/{{repo}}{path}", shown, methods=["GET"])

    async def press(request: Request) -> Response:
        return await anyio.to_thread.run_sync(_pressed, hub, request, await request.body())

    return [
        page("/issues/{number:int}", issue_page),
        page("/pull/{number:int}", pull_page),
        page("/runs/{id:int}", check_page),
        RawRoute("/{owner}/{repo}/runs/{id:int}/buttons", press, methods=["POST"]),
        page("/commit/{sha}", commit_page),
        page("/commit/{sha}/checks", commit_page),
        page("/actions/runs/{id:int}", run_page),
        page("/actions/runs/{id:int}/job/{job:int}", run_page),
        *(page(path, home_page) for path in ("", "/issues", "/pulls", "/actions")),
    ]
