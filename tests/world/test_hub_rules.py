"""What the stand-in GitHub refuses, how lists are cut, and the trouble it makes on order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from bot.core.errors import BadInput, BugError
from bot.demo.hub import AppCredentials, Fault, Hub
from bot.demo.hub.git import Bare
from bot.demo.hub.webhooks import plain
from tests.world.hubs import SHOP, Inbox, installed, mailbox, shop

ISSUES = f"/repos/{SHOP}/issues"
NOT_ACCESSIBLE = "Resource not accessible by integration"


@pytest.fixture(name="hub")
def _hub(tmp_path: Path) -> Iterator[Hub]:
    with shop(tmp_path) as running:
        yield running


@pytest.fixture(name="inbox")
def _inbox() -> Iterator[Inbox]:
    with mailbox() as box:
        yield box


@pytest.fixture(name="app")
def _app(hub: Hub, inbox: Inbox) -> AppCredentials:
    return installed(hub, inbox)


def ask(
    hub: Hub, token: str | None, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> httpx.Response:
    whole = ({"Authorization": f"Bearer {token}"} if token else {}) | dict(headers or {})
    return httpx.request(method, hub.api_url + path, json=body, headers=whole, trust_env=False, verify=plain(), timeout=30)


def person(hub: Hub, login: str) -> str:
    return hub.person(login).token


def job(hub: Hub, permissions: Mapping[str, str], full_name: str = SHOP) -> str:
    return hub.job_token(hub.found(full_name), permissions, name="improve / post", run_id=1, job_id=2)


def issue(hub: Hub) -> int:
    return hub.person("grace").open_issue(SHOP, "Title", "Body")


# Who may


COMMENT = ("POST", f"{ISSUES}/1/comments", {"body": "b"})
LABEL = ("POST", f"{ISSUES}/1/labels", {"labels": ["bug"]})
READ = ("GET", f"{ISSUES}/1", None)
CHECK = ("POST", f"/repos/{SHOP}/check-runs", {"name": "ostler", "head_sha": "SHA"})
PULL = ("POST", f"/repos/{SHOP}/pulls", {"title": "t", "head": "nothing", "base": "main"})


@pytest.mark.parametrize(
    ("permissions", "allowed"),
    [
        ({}, []),
        ({"contents": "read"}, []),
        ({"issues": "read"}, [READ]),
        ({"issues": "write"}, [READ, COMMENT, LABEL]),
        ({"pull-requests": "write"}, [PULL]),
        ({"checks": "write", "contents": "write"}, [CHECK]),
        ({"checks": "read", "contents": "write"}, []),
    ],
)
def test_a_job_may_what_its_permissions_say(hub: Hub, permissions: dict[str, str], allowed: list[Any]) -> None:
    issue(hub)
    sha = Bare(hub.found(SHOP).git).resolve("main")
    token = job(hub, permissions)
    for call in (READ, COMMENT, LABEL, CHECK, PULL):
        method, path, body = call
        answer = ask(hub, token, method, path, json.loads(json.dumps(body).replace("SHA", str(sha))))
        if call in allowed:
            assert answer.status_code in (200, 201, 422), call
        else:
            assert (answer.status_code, answer.json()["message"]) == (403, NOT_ACCESSIBLE), call
            assert "=" in answer.headers["x-accepted-github-permissions"]


def test_a_job_is_the_actions_bot_and_its_checks_are_its_own(hub: Hub, app: AppCredentials) -> None:
    issue(hub)
    token = job(hub, {"issues": "write", "checks": "write"})
    said = ask(hub, token, *COMMENT).json()
    assert (said["user"]["login"], said["user"]["type"], said["performed_via_github_app"]["id"]) == (
        "github-actions[bot]",
        "Bot",
        15368,
    )
    sha = Bare(hub.found(SHOP).git).resolve("main")
    made = ask(hub, token, "POST", f"/repos/{SHOP}/check-runs", {"name": "ostler", "head_sha": sha}).json()
    assert made["app"]["id"] == 15368
    other = ask(hub, None, "POST", f"/app/installations/{app.installations[SHOP]}/access_tokens", {}, bearer(app)).json()["token"]
    refused = ask(hub, other, "PATCH", f"/repos/{SHOP}/check-runs/{made['id']}", {"status": "in_progress"})
    assert (refused.status_code, "can only be modified" in refused.json()["message"]) == (403, True)
    hub.revoke(token)
    assert ask(hub, token, *COMMENT).status_code == 401


@pytest.mark.parametrize(
    ("login", "comment", "label", "ref"),
    [("sam", 201, 403, 403), ("tom", 201, 200, 403), ("grace", 201, 200, 201), ("ada", 201, 200, 201)],
)
def test_a_person_may_what_their_role_says(hub: Hub, login: str, comment: int, label: int, ref: int) -> None:
    issue(hub)
    sha = Bare(hub.found(SHOP).git).resolve("main")
    token = person(hub, login)
    assert ask(hub, token, *COMMENT).status_code == comment
    assert ask(hub, token, *LABEL).status_code == label
    assert ask(hub, token, "POST", f"/repos/{SHOP}/git/refs", {"ref": "refs/heads/x", "sha": sha}).status_code == ref
    assert ask(hub, token, "POST", f"/repos/{SHOP}/check-runs", {"name": "n", "head_sha": sha}).status_code == 403


def test_a_private_repository_is_not_there_for_others(hub: Hub) -> None:
    hub.repository("ada/secret", {"a": "b"}, {"grace": "read"}, private=True)
    path = "/repos/ada/secret/issues"
    assert ask(hub, person(hub, "grace"), "GET", path).status_code == 200
    assert ask(hub, person(hub, "sam"), "GET", path).status_code == 404
    assert ask(hub, None, "GET", path).status_code == 404
    assert ask(hub, job(hub, {"issues": "write"}), "GET", path).status_code == 404
    assert ask(hub, None, "GET", ISSUES).status_code == 200
    assert ask(hub, None, "POST", ISSUES, {"title": "t"}).status_code == 401
    assert ask(hub, "ghp_wrong", "GET", ISSUES).json()["message"] == "Bad credentials"


def bearer(app: AppCredentials, *, age: int = 0, life: int = 540, key: str = "", **claims: Any) -> dict[str, str]:
    now = int(time.time()) - age
    whole = {"iat": now, "exp": now + life, "iss": str(app.app_id)} | claims
    return {"Authorization": f"Bearer {jwt.encode(whole, key or app.private_key_pem, algorithm='RS256')}"}


def test_only_a_good_jwt_speaks_for_an_app(hub: Hub, app: AppCredentials) -> None:
    def status(headers: dict[str, str], path: str = "/app") -> int:
        return ask(hub, None, "GET", path, headers=headers).status_code

    stranger = hub.app("stranger", None)
    assert status(bearer(app)) == 200
    assert status(bearer(app, age=3600)) == 401
    assert status(bearer(app, life=1200)) == 401
    assert status(bearer(app, iat=int(time.time()) + 600)) == 401
    assert status(bearer(app, key=stranger.private_key_pem)) == 401
    assert status(bearer(app, iss="7")) == 401
    assert status(bearer(app), ISSUES) == 403
    assert ask(hub, person(hub, "ada"), "GET", "/app").status_code == 401
    other = f"/app/installations/{app.installations[SHOP]}/access_tokens"
    assert ask(hub, None, "POST", other, {}, bearer(stranger)).status_code == 404
    assert ask(hub, None, "POST", other, {"permissions": {"secrets": "read"}}, bearer(app)).status_code == 422
    assert ask(hub, None, "POST", other, {"repositories": ["nothing"]}, bearer(app)).status_code == 422
    made = ask(hub, None, "POST", other, {}, bearer(app)).json()["token"]
    assert ask(hub, made, "GET", ISSUES).status_code == 200
    real = hub.clock
    hub.clock = lambda: real() + timedelta(hours=1, seconds=1)
    assert ask(hub, made, "GET", ISSUES).status_code == 401


# Strictness


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", f"{ISSUES}/1/comments", {"body": "b", "colour": "red"}, 422),
        ("POST", f"{ISSUES}/1/comments", {"body": 1}, 422),
        ("POST", f"{ISSUES}/1/comments", {"body": None}, 422),
        ("POST", f"{ISSUES}/1/comments", {"body": "  "}, 422),
        ("POST", f"{ISSUES}/1/comments", {"body": "x" * 65_537}, 422),
        ("POST", f"{ISSUES}/1/comments", {}, 422),
        ("POST", f"{ISSUES}/1/comments", ["body"], 400),
        ("POST", f"{ISSUES}/99/comments", {"body": "b"}, 404),
        ("POST", f"{ISSUES}/1/labels", {"labels": "bug"}, 422),
        ("DELETE", f"{ISSUES}/1/labels/bug", None, 404),
        ("PATCH", f"{ISSUES}/1", {"state": "done"}, 422),
        ("POST", f"{ISSUES}/1/reactions", {"content": "thumbs"}, 422),
        ("GET", f"{ISSUES}?label=bug", None, 422),
        ("GET", f"{ISSUES}?per_page=many", None, 422),
        ("GET", f"{ISSUES}?page=1&page=2", None, 422),
        ("GET", f"/repos/{SHOP}/pulls?head=branch", None, 422),
        ("POST", f"/repos/{SHOP}/pulls", {"title": "t", "head": "nothing", "base": "main"}, 422),
        ("POST", f"/repos/{SHOP}/pulls", {"title": "t", "head": "main", "base": "main"}, 422),
    ],
)
def test_what_is_not_understood_is_refused(hub: Hub, method: str, path: str, body: Any, status: int) -> None:
    issue(hub)
    answer = ask(hub, person(hub, "grace"), method, path, body)
    assert answer.status_code == status
    assert answer.json()["message"]


BUTTON = {"label": "Go", "description": "Go on", "identifier": "go"}
OUTPUT = {"title": "t", "summary": "s"}


@pytest.mark.parametrize(
    "body",
    [
        {"head_sha": "0" * 40},
        {"status": "completed"},
        {"status": "in_progress", "conclusion": "success"},
        {"conclusion": "stale"},
        {"output": {"title": "t"}},
        {"output": OUTPUT | {"text": "x" * 65_536}},
        {"output": OUTPUT | {"summary": "x" * 65_536}},
        {"output": OUTPUT | {"title": "x" * 65_536}},
        {"actions": [BUTTON] * 4},
        {"actions": [BUTTON | {"label": "x" * 21}]},
        {"actions": [BUTTON | {"description": "x" * 41}]},
        {"actions": [BUTTON | {"identifier": "x" * 21}]},
        {"actions": [{"label": "Go"}]},
        {"started_at": "yesterday"},
    ],
)
def test_a_check_run_that_github_would_not_take(hub: Hub, body: dict[str, Any]) -> None:
    sha = Bare(hub.found(SHOP).git).resolve("main")
    answer = ask(hub, job(hub, {"checks": "write"}), "POST", f"/repos/{SHOP}/check-runs", {"name": "n", "head_sha": sha} | body)
    assert answer.status_code == 422
    assert hub.found(SHOP).checks == {}


def test_an_unknown_route_is_noted(hub: Hub) -> None:
    assert ask(hub, person(hub, "ada"), "GET", "/repos/ada/shop/stars").status_code == 404
    assert hub.errors == ["no route: GET /api/v3/repos/ada/shop/stars"]
    hub.errors.clear()


# Lists, tags, limits


def test_lists_are_cut_and_linked(hub: Hub) -> None:
    number = issue(hub)
    ids = [hub.person("grace").comment(SHOP, number, f"comment {count}") for count in range(5)]
    path, seen = f"{hub.api_url}{ISSUES}/{number}/comments?per_page=2", []
    while path:
        answer = httpx.get(path, headers={"Authorization": f"Bearer {person(hub, 'ada')}"}, trust_env=False)
        seen.append([one["id"] for one in answer.json()])
        path = answer.links.get("next", {}).get("url", "")
    assert seen == [ids[:2], ids[2:4], ids[4:]]
    assert set(answer.links) == {"prev", "first"}
    assert ask(hub, None, "GET", f"{ISSUES}/{number}/comments?page=9").json() == []


def test_an_unchanged_answer_is_304(hub: Hub) -> None:
    number = issue(hub)
    first = ask(hub, None, "GET", f"{ISSUES}/{number}")
    again = ask(hub, None, "GET", f"{ISSUES}/{number}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    hub.person("grace").comment(SHOP, number, "b")
    assert ask(hub, None, "GET", f"{ISSUES}/{number}", headers={"If-None-Match": first.headers["etag"]}).status_code == 200


def test_the_rate_limit_counts_per_token(hub: Hub) -> None:
    hub.rate_limit = 2
    token = person(hub, "ada")
    assert [ask(hub, token, "GET", ISSUES).headers["x-ratelimit-remaining"] for _ in range(2)] == ["1", "0"]
    over = ask(hub, token, "GET", ISSUES)
    assert (over.status_code, over.headers["x-ratelimit-remaining"]) == (403, "0")
    assert over.json()["message"].startswith("API rate limit exceeded")
    assert over.headers["x-github-request-id"]
    assert ask(hub, person(hub, "grace"), "GET", ISSUES).status_code == 200


# Events


def test_what_becomes_of_labels_at_opening(hub: Hub, app: AppCredentials, inbox: Inbox) -> None:
    assert hub.person("sam").open_issue(SHOP, "t", "b", ["ostler"]) == 1
    assert hub.person("sam").get(f"{ISSUES}/1")["labels"] == []
    number = hub.issue_from_form(SHOP, "sam", "t", "b", ["ostler"])
    events = hub.person("sam").get(f"{ISSUES}/{number}/events")
    assert [(one["event"], one["actor"]["login"]) for one in events] == [("labeled", "sam")]
    hub.wait_idle(10)
    told = sorted((one["issue"]["number"], one["action"]) for one in inbox.payloads("issues"))
    assert told == [(1, "opened"), (2, "labeled"), (2, "opened")]


def test_edits_tell_what_was_there_before(hub: Hub, app: AppCredentials, inbox: Inbox) -> None:
    number = issue(hub)
    comment = hub.person("grace").comment(SHOP, number, "one")
    hub.person("grace").edit_issue(SHOP, number, title="New", body="Other")
    hub.person("grace").edit_comment(SHOP, comment, "two")
    hub.wait_idle(10)
    edited = [one["changes"] for one in inbox.payloads("issues") if one["action"] == "edited"]
    assert edited == [{"title": {"from": "Title"}, "body": {"from": "Body"}}]
    assert [one["changes"] for one in inbox.payloads("issue_comment") if one["action"] == "edited"] == [{"body": {"from": "one"}}]


def test_events_of_a_job_reach_apps_and_are_marked(hub: Hub, app: AppCredentials, inbox: Inbox) -> None:
    heard: list[tuple[str, bool]] = []
    hub.post.listeners.append(lambda event: heard.append((event.name, event.by_job)))
    issue(hub)
    ask(hub, job(hub, {"issues": "write"}), *COMMENT)
    hub.wait_idle(10)
    assert heard[-2:] == [("issues", False), ("issue_comment", True)]
    assert ("issue_comment", "created") in inbox.events()


def test_an_app_that_is_away_gets_nothing_by_itself(hub: Hub, app: AppCredentials) -> None:
    hub.app_process(app, None, "http://127.0.0.1:9/gone")
    issue(hub)
    hub.wait_idle(10)
    failed = [one for one in hub.state.deliveries.values() if one.event == "issues"]
    assert [(one.status_code, one.status.startswith("failed to connect")) for one in failed] == [(502, True)]


def test_waiting_has_an_end(hub: Hub) -> None:
    hub.busy.append(lambda: True)
    with pytest.raises(BugError, match="still under way"):
        hub.wait_idle(0.1)


# Faults


@pytest.mark.parametrize(
    ("kind", "status", "applied"),
    [("status-502", 502, 0), ("status-502-after", 502, 1), ("429", 429, 0), ("403-secondary", 403, 0), ("status-404", 404, 0)],
)
def test_an_answer_that_is_trouble(hub: Hub, kind: str, status: int, applied: int) -> None:
    number = issue(hub)
    hub.faults.append(Fault("POST", "/comments$", kind, who="grace"))
    answer = ask(hub, person(hub, "grace"), *COMMENT)
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == (kind in ("429", "403-secondary"))
    assert len(hub.person("ada").comments(SHOP, number)) == applied
    assert ask(hub, person(hub, "grace"), *COMMENT).status_code == 201  # once only
    assert [(one.status, one.fault) for one in hub.log if one.method == "POST"][1:] == [(status, kind), (201, None)]


@pytest.mark.parametrize(("kind", "applied"), [("drop-before", 0), ("drop-after", 1)])
def test_a_connection_that_is_cut(hub: Hub, kind: str, applied: int) -> None:
    number = issue(hub)
    hub.faults.append(Fault("POST", "/comments$", kind))
    with pytest.raises(httpx.TransportError):
        ask(hub, person(hub, "grace"), *COMMENT)
    assert len(hub.person("ada").comments(SHOP, number)) == applied
    assert [one.status for one in hub.log if one.fault] == [0]


def test_a_list_that_is_stale(hub: Hub) -> None:
    number = issue(hub)
    ids = [hub.person("grace").comment(SHOP, number, text) for text in ("a", "b", "c")]
    hub.faults.append(Fault("GET", "/comments$", "stale", hide=2, times=2, skip=1))
    seen = [[one["id"] for one in ask(hub, None, "GET", f"{ISSUES}/{number}/comments").json()] for _ in range(4)]
    assert seen == [ids, ids[:1], ids[:1], ids]


@pytest.mark.parametrize(("kind", "applied"), [("kill-before", 0), ("kill-after", 1)])
def test_a_process_that_is_killed_by_what_it_asks(hub: Hub, kind: str, applied: int) -> None:
    number = issue(hub)
    token = job(hub, {"issues": "write"})
    hub.faults.append(Fault("POST", "/comments$", kind, who="improve / post"))
    program = (
        "import sys, httpx; input();"
        "httpx.post(sys.argv[1], json={'body': 'b'}, headers={'Authorization': 'Bearer ' + sys.argv[2]}, trust_env=False)"
    )
    url = f"{hub.api_url}{ISSUES}/{number}/comments"
    command = [sys.executable, "-I", "-c", program, url, token]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env={"PATH": os.defpath}, start_new_session=True) as process:
        hub.process_started(token, process.pid)
        process.communicate(b"\n", timeout=60)
    hub.process_ended(token, process.pid)
    assert process.returncode == -9
    assert len(hub.person("ada").comments(SHOP, number)) == applied


def test_an_app_that_is_killed_by_what_it_asks(hub: Hub, app: AppCredentials) -> None:
    with subprocess.Popen([sys.executable, "-I", "-c", "input()"], stdin=subprocess.PIPE, env={"PATH": os.defpath}) as process:
        hub.app_process(app, process.pid)
        hub.faults.append(Fault("GET", "^/app$", "kill-before", who="ostler"))
        with pytest.raises(httpx.TransportError):
            ask(hub, None, "GET", "/app", headers=bearer(app))
        assert process.wait(60) == -9


def test_a_fault_nobody_knows(hub: Hub) -> None:
    with pytest.raises(BadInput, match="no fault of the kind"):
        Fault("GET", ".*", "earthquake")
