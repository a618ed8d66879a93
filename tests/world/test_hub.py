"""The stand-in GitHub answers as GitHub's published description says: everything here is read by githubkit's generated models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from githubkit import TokenAuthStrategy
from githubkit.exception import RequestFailed
from githubkit.webhooks import parse, verify

from bot.demo.hub import AppCredentials, Hub
from bot.demo.hub.git import Bare, Signature
from bot.demo.hub.graphql import schema
from bot.demo.hub.graphql_fields import FIELDS
from bot.demo.hub.people import NotAllowed
from bot.demo.hub.state import stamp
from tests.world.hubs import (
    PERMISSIONS,
    SHOP,
    Inbox,
    as_app,
    as_installation,
    as_person,
    branch,
    client,
    installed,
    mailbox,
    shop,
)

HOME = ("ada", "shop")


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


def test_an_issue_and_its_history(hub: Hub) -> None:
    grace = as_person(hub, "grace").rest.issues
    number = grace.create(*HOME, title="Broken", body="It is", labels=["bug"]).parsed_data.number
    assert grace.add_labels(*HOME, number, labels=["ostler"]).parsed_data
    assert grace.remove_label(*HOME, number, "bug").parsed_data
    assert grace.update(*HOME, number, title="Broken again").parsed_data
    seen = grace.get(*HOME, number).parsed_data
    assert (seen.title, [getattr(one, "name", one) for one in seen.labels]) == ("Broken again", ["ostler"])
    events = grace.list_events(*HOME, number).parsed_data
    assert [one.event for one in events] == ["labeled", "labeled", "unlabeled", "renamed"]
    ids = [one.id for one in events]
    assert ids == sorted(ids)
    assert {one.actor.login for one in events if one.actor} == {"grace"}
    assert grace.create_comment(*HOME, number, body="hm").parsed_data
    timeline = grace.list_events_for_timeline(*HOME, number).parsed_data
    assert getattr(timeline[-1], "event", None) == "commented"
    assert grace.get_event(*HOME, ids[0]).parsed_data.event == "labeled"
    assert [one.id for one in grace.list_events_for_repo(*HOME).parsed_data] == ids[::-1]
    assert grace.update(*HOME, number, state="closed").parsed_data
    assert grace.list_for_repo(*HOME).parsed_data == []
    assert len(grace.list_for_repo(*HOME, state="all", labels="ostler").parsed_data) == 1


def test_labels_of_the_repository(hub: Hub) -> None:
    grace = as_person(hub, "grace").rest.issues
    assert grace.create_label(*HOME, name="ostler:working", color="aabbcc", description="busy").parsed_data.description == "busy"
    with pytest.raises(RequestFailed) as again:
        grace.create_label(*HOME, name="Ostler:Working", color="aabbcc")
    assert again.value.response.json()["errors"] == [{"resource": "Label", "field": "name", "code": "already_exists"}]
    assert grace.get_label(*HOME, "ostler:working").parsed_data.color == "aabbcc"
    assert "ostler:working" in [one.name for one in grace.list_labels_for_repo(*HOME, per_page=100).parsed_data]
    assert grace.update_label(*HOME, "ostler:working", color="ffffff").parsed_data.color == "ffffff"
    number = grace.create(*HOME, title="t").parsed_data.number
    assert grace.set_labels(*HOME, number, labels=["ostler:working"]).parsed_data
    assert [one.name for one in grace.list_labels_on_issue(*HOME, number).parsed_data] == ["ostler:working"]
    hub.person("grace").label(SHOP, number, "area/a b?")
    hub.person("grace").unlabel(SHOP, number, "area/a b?")
    grace.delete_label(*HOME, "ostler:working")
    assert grace.list_labels_on_issue(*HOME, number).parsed_data == []


def test_comments_and_reactions(hub: Hub) -> None:
    start = datetime(2026, 11, 21, 11, 0, tzinfo=UTC)
    hub.clock = lambda: start
    ada, sam = as_person(hub, "ada"), as_person(hub, "sam")
    number = sam.rest.issues.create(*HOME, title="t").parsed_data.number
    made = sam.rest.issues.create_comment(*HOME, number, body="one").parsed_data
    assert (made.created_at, made.author_association) == (start, "NONE")
    hub.clock = lambda: start + timedelta(seconds=5, milliseconds=700)
    edited = ada.rest.issues.update_comment(*HOME, made.id, body="two").parsed_data
    assert (edited.body, edited.created_at, edited.updated_at) == ("two", start, start + timedelta(seconds=5))
    assert ada.rest.issues.get_comment(*HOME, made.id).parsed_data.body == "two"
    assert [one.id for one in ada.rest.issues.list_comments(*HOME, number).parsed_data] == [made.id]
    assert len(ada.rest.issues.list_comments_for_repo(*HOME, since=start + timedelta(seconds=5)).parsed_data) == 1
    eyes = ada.rest.reactions.create_for_issue_comment(*HOME, made.id, content="eyes")
    again = ada.rest.reactions.create_for_issue_comment(*HOME, made.id, content="eyes")
    assert (eyes.status_code, again.status_code) == (201, 200)
    assert eyes.parsed_data.id == again.parsed_data.id
    assert len(ada.rest.reactions.list_for_issue_comment(*HOME, made.id).parsed_data) == 1
    assert ada.rest.reactions.create_for_issue(*HOME, number, content="rocket").parsed_data
    assert [one.content for one in ada.rest.reactions.list_for_issue(*HOME, number).parsed_data] == ["rocket"]
    ada.rest.reactions.delete_for_issue_comment(*HOME, made.id, eyes.parsed_data.id)
    ada.rest.issues.delete_comment(*HOME, made.id)
    assert ada.rest.issues.list_comments(*HOME, number).parsed_data == []


@pytest.mark.parametrize(
    ("login", "permission", "role_name", "kind"),
    [
        ("ada", "admin", "admin", "User"),
        ("mia", "write", "maintain", "User"),
        ("grace", "write", "write", "User"),
        ("cleo", "write", "Releaser", "User"),
        ("tom", "read", "triage", "User"),
        ("rob", "read", "read", "User"),
        ("sam", "read", "read", "User"),
        ("helper[bot]", "read", "read", "Bot"),
    ],
)
def test_roles(hub: Hub, login: str, permission: str, role_name: str, kind: str) -> None:
    home = hub.found(SHOP)
    hub.member(home, "mia", "maintain")
    hub.member(home, "rob", "read")
    hub.member(home, "cleo", "write", name="Releaser")
    hub.user("sam")
    hub.user("helper[bot]", "Bot")
    ada = as_person(hub, "ada").rest
    said = ada.repos.get_collaborator_permission_level(*HOME, login).parsed_data
    assert said.user is not None
    assert (said.permission, said.role_name, said.user.type) == (permission, role_name, kind)
    assert ada.users.get_by_username(login).parsed_data.type == kind


def test_what_else_is_read(hub: Hub) -> None:
    ada = as_person(hub, "ada").rest
    assert ada.repos.get(*HOME).parsed_data.default_branch == "main"
    assert {one.login for one in ada.repos.list_collaborators(*HOME).parsed_data} == {"ada", "grace", "tom"}
    assert ada.repos.check_collaborator(*HOME, "grace").status_code == 204
    assert ada.users.get_authenticated().parsed_data.login == "ada"
    assert ada.users.get_by_id(hub.user("grace").id).parsed_data.login == "grace"
    assert ada.rate_limit.get().parsed_data.resources.core.limit == 5000
    assert ada.meta.get().parsed_data.verifiable_password_authentication is False


def test_graphql_says_when_a_text_was_edited(hub: Hub) -> None:
    start = datetime(2026, 11, 21, 11, 0, tzinfo=UTC)
    hub.clock = lambda: start
    number = hub.person("sam").open_issue(SHOP, "Title", "Body")
    query = """query($owner: String!, $name: String!, $number: Int!) {
        repository(owner: $owner, name: $name) { issue(number: $number) { title lastEditedAt author { login } } } }"""
    variables = {"owner": "ada", "name": "shop", "number": number}
    sam = as_person(hub, "sam")
    hub.person("sam").edit_issue(SHOP, number, title="Other")
    assert sam.graphql(query, variables)["repository"]["issue"] == {
        "title": "Other",
        "lastEditedAt": None,
        "author": {"login": "sam"},
    }
    hub.clock = lambda: start + timedelta(seconds=9)
    hub.person("sam").edit_issue(SHOP, number, body="New")
    assert sam.graphql(query, variables)["repository"]["issue"]["lastEditedAt"] == "2026-11-21T11:00:09Z"
    missing = hub.person("sam").request("POST", hub.graphql_url, {"query": query, "variables": variables | {"number": 99}})
    assert missing["errors"][0]["type"] == "NOT_FOUND"
    assert missing["data"] == {"repository": {"issue": None}}
    unknown = hub.person("sam").request(
        "POST", hub.graphql_url, {"query": '{ repository(owner: "ada", name: "shop") { stars } }'}
    )
    assert "stars" in unknown["errors"][0]["message"]
    assert hub.errors.pop() == "GraphQL: Cannot query field 'stars' on type 'Repository'."


def test_graphql_pages_by_cursor_and_finds_by_id(hub: Hub) -> None:
    for title in "abc":
        hub.person("sam").open_issue(SHOP, title, "Body")
    query = """query($first: Int, $after: String) { repository(owner: "ada", name: "shop") {
        issues(first: $first, after: $after) { totalCount nodes { id title } pageInfo { hasNextPage endCursor } } } }"""

    def page(**given: Any) -> Any:
        told = hub.person("sam").request("POST", hub.graphql_url, {"query": query, "variables": given})
        return told["data"]["repository"]["issues"] if "data" in told else told["errors"][0]["message"]

    first = page(first=2)
    assert [one["title"] for one in first["nodes"]] == ["a", "b"]
    rest = page(first=2, after=first["pageInfo"]["endCursor"])
    assert ([one["title"] for one in rest["nodes"]], rest["totalCount"]) == (["c"], 3)
    assert (first["pageInfo"]["hasNextPage"], rest["pageInfo"]["hasNextPage"]) == (True, False)
    for wrong in ({}, {"first": 0}, {"first": 101}):
        assert "between 1 and 100" in page(**wrong)
    assert "valid cursor" in page(first=1, after="?")
    hub.errors.clear()
    by_id = "query($id: ID!) { node(id: $id) { __typename ... on Issue { title } } }"
    told = as_person(hub, "sam").graphql(by_id, {"id": rest["nodes"][0]["id"]})
    assert told == {"node": {"__typename": "Issue", "title": "c"}}


def test_every_field_of_what_graphql_hands_out_has_a_value() -> None:
    types: Any = schema().type_map
    missing = {f"{name}.{field}" for name, known in FIELDS.items() for field in types[name].fields if field not in known}
    assert missing == set()


def test_a_check_run_and_its_button(hub: Hub, app: AppCredentials, inbox: Inbox) -> None:
    sha = Bare(hub.found(SHOP).git).resolve("main") or ""
    ours = as_installation(hub, app).rest.checks
    made = ours.create(*HOME, data={"name": "ostler", "head_sha": sha, "external_id": "s1", "status": "in_progress"}).parsed_data
    assert (made.status, made.conclusion, made.external_id) == ("in_progress", None, "s1")
    button = {"label": "Approve", "description": "Go on", "identifier": "approve"}
    output = {"title": "Plan", "summary": "s", "text": "t" * 65_535}
    assert ours.update(*HOME, made.id, data={"output": output, "actions": [button]}).parsed_data
    with pytest.raises(NotAllowed, match="404"):  # no button before it is completed
        hub.person("grace").press(SHOP, made.id, "approve")
    done = ours.update(*HOME, made.id, data={"conclusion": "action_required"}).parsed_data
    assert (done.status, done.conclusion, done.output.title) == ("completed", "action_required", "Plan")
    with pytest.raises(NotAllowed, match="403"):  # no write role
        hub.person("tom").press(SHOP, made.id, "approve")
    hub.person("grace").press(SHOP, made.id, "approve")
    hub.wait_idle(10)
    pressed = [one for one in inbox.payloads("check_run") if one["action"] == "requested_action"]
    assert [(one["requested_action"], one["sender"]["login"]) for one in pressed] == [({"identifier": "approve"}, "grace")]
    assert {one["action"] for one in inbox.payloads("check_run")} == {"created", "completed", "requested_action"}
    second = ours.create(*HOME, data={"name": "ostler", "head_sha": sha, "status": "queued"}).parsed_data
    assert [one.id for one in ours.list_for_ref(*HOME, "main").parsed_data.check_runs] == [second.id]
    every = ours.list_for_ref(*HOME, sha, filter_="all", check_name="ostler", app_id=app.app_id).parsed_data
    assert (every.total_count, [one.id for one in every.check_runs]) == (2, [second.id, made.id])
    assert ours.list_for_ref(*HOME, sha, app_id=15368).parsed_data.total_count == 0
    assert ours.get(*HOME, made.id).parsed_data.output.text == "t" * 65_535
    assert ours.list_annotations(*HOME, made.id).parsed_data == []


def test_a_pull_request_with_reviews(hub: Hub, app: AppCredentials) -> None:
    sha = branch(hub, "ostler/1", {"README.md": "hello\n", "src/a.py": "A = 2\n", "b.txt": "b\n"})
    ours = as_installation(hub, app).rest
    made = ours.pulls.create(*HOME, title="Fix", head="ostler/1", base="main", body="b", draft=True).parsed_data
    assert (made.draft, made.head.sha, made.commits, made.changed_files, made.user.type) == (True, sha, 1, 2, "Bot")
    assert [one.number for one in ours.pulls.list(*HOME, head="ada:ostler/1").parsed_data] == [made.number]
    assert ours.pulls.list(*HOME, head="ada:other").parsed_data == []
    with pytest.raises(RequestFailed) as again:
        ours.pulls.create(*HOME, title="Fix", head="ostler/1", base="main")
    assert again.value.response.json()["errors"][0]["message"] == "A pull request already exists for ada:ostler/1."
    files = ours.pulls.list_files(*HOME, made.number).parsed_data
    assert [(one.filename, one.status, one.additions, one.deletions) for one in files] == [
        ("b.txt", "added", 1, 0),
        ("src/a.py", "modified", 1, 1),
    ]
    assert [one.sha for one in ours.pulls.list_commits(*HOME, made.number).parsed_data] == [sha]
    assert ours.pulls.update(*HOME, made.number, title="Fix it").parsed_data.title == "Fix it"
    grace = as_person(hub, "grace").rest
    line = {"path": "src/a.py", "line": 1, "body": "why?"}
    review = grace.pulls.create_review(*HOME, made.number, event="REQUEST_CHANGES", body="no", comments=[line]).parsed_data
    assert (review.state, review.commit_id) == ("CHANGES_REQUESTED", sha)
    assert grace.pulls.get_review(*HOME, made.number, review.id).parsed_data.body == "no"
    assert len(grace.pulls.list_reviews(*HOME, made.number).parsed_data) == 1
    assert len(grace.pulls.list_comments_for_review(*HOME, made.number, review.id).parsed_data) == 1
    data = {"path": "b.txt", "body": "ok", "commit_id": sha, "line": 1}
    remark = grace.pulls.create_review_comment(*HOME, made.number, data=data).parsed_data
    assert ours.pulls.create_reply_for_review_comment(*HOME, made.number, remark.id, body="thanks").parsed_data
    assert [one.body for one in grace.pulls.list_review_comments(*HOME, made.number).parsed_data] == ["why?", "ok", "thanks"]
    assert ours.issues.create_comment(*HOME, made.number, body="done").parsed_data
    assert ours.issues.get(*HOME, made.number).parsed_data.pull_request
    assert ours.pulls.update(*HOME, made.number, state="closed").parsed_data.state == "closed"
    assert ours.pulls.get(*HOME, made.number).parsed_data.closed_at


def test_an_app_its_installation_and_its_token(hub: Hub, app: AppCredentials) -> None:
    hub.repository("ada/second", {"a": "b"})
    hub.install(app, "ada/second", PERMISSIONS)
    jwt = as_app(hub, app).rest.apps
    assert getattr(jwt.get_authenticated().parsed_data, "slug", None) == "ostler"
    assert [one.id for one in jwt.list_installations().parsed_data] == [app.installations[SHOP]]
    assert jwt.get_installation(app.installations[SHOP]).parsed_data.app_id == app.app_id
    assert jwt.get_repo_installation(*HOME).parsed_data.id == app.installations[SHOP]
    made = jwt.create_installation_access_token(
        app.installations[SHOP], repositories=["shop"], permissions={"issues": "read"}
    ).parsed_data  # fmt: skip
    datetime.strptime(made.expires_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    narrow = client(hub, TokenAuthStrategy(made.token)).rest
    seen = narrow.apps.list_repos_accessible_to_installation().parsed_data
    assert [one.full_name for one in seen.repositories] == [SHOP]
    with pytest.raises(RequestFailed) as refused:
        narrow.issues.create(*HOME, title="t")
    assert refused.value.response.json()["message"] == "Resource not accessible by integration"
    narrow.apps.revoke_installation_access_token()
    with pytest.raises(RequestFailed) as over:
        narrow.issues.list_for_repo(*HOME)
    assert over.value.response.status_code == 401


def test_where_an_app_is_not_any_more_its_tokens_open_nothing(hub: Hub, app: AppCredentials, inbox: Inbox) -> None:
    hub.repository("ada/second", {"a": "b"}, private=True)
    hub.install(app, "ada/second", PERMISSIONS)
    hub.wait_idle(10)
    ours, jwt, number = as_installation(hub, app).rest, as_app(hub, app).rest.apps, app.installations[SHOP]
    first = jwt.create_installation_access_token(number).parsed_data.token
    with_first = client(hub, TokenAuthStrategy(first)).rest
    inbox.received.clear()

    def status(rest: Any, *home: str) -> int:
        try:
            return int(rest.issues.create(*home, title="t").status_code)
        except RequestFailed as refused:
            return refused.response.status_code

    assert (status(ours, *HOME), status(with_first, "ada", "second")) == (201, 201)
    hub.wait_idle(10)
    hub.change_installation(app, "ada/second", "removed")
    assert (status(with_first, *HOME), status(with_first, "ada", "second")) == (201, 404)
    hub.wait_idle(10)
    hub.change_installation(app, SHOP, "suspend")
    assert (status(with_first, *HOME), status(ours, *HOME)) == (403, 403)
    assert jwt.get_installation(number).parsed_data.suspended_at
    hub.person("grace").open_issue(SHOP, "Nobody is told")
    hub.change_installation(app, SHOP, "unsuspend")
    assert status(with_first, *HOME) == 201
    hub.wait_idle(10)
    hub.change_installation(app, SHOP, "deleted")
    assert status(with_first, *HOME) == 401
    with pytest.raises(RequestFailed) as gone:
        jwt.get_repo_installation(*HOME)
    assert gone.value.response.status_code == 404
    hub.wait_idle(10)
    assert [payload["issue"]["title"] for payload in inbox.payloads("issues")] == ["t"] * 4


def test_webhooks_are_signed_recorded_and_redelivered(hub: Hub, app: AppCredentials, inbox: Inbox) -> None:
    hub.wait_idle(10)
    assert inbox.events() == [("installation", "created")]
    inbox.received.clear()
    inbox.status = 500
    hub.person("grace").open_issue(SHOP, "Title", "Körper")
    hub.wait_idle(10)
    assert inbox.events() == [("issues", "opened")]  # one try
    headers, body = inbox.received[0]
    assert verify("it is a secret", body, headers["x-hub-signature-256"])
    assert json.loads(body)["installation"]["id"] == app.installations[SHOP]
    assert json.loads(body)["repository"]["full_name"] == SHOP
    jwt = as_app(hub, app).rest.apps
    failed = jwt.list_webhook_deliveries().parsed_data[0]
    assert (failed.event, failed.action, failed.status_code, failed.redelivery) == ("issues", "opened", 500, False)
    inbox.status = 200
    jwt.redeliver_webhook_delivery(failed.id)
    hub.wait_idle(10)
    again = jwt.list_webhook_deliveries(per_page=1).parsed_data[0]
    assert (again.guid, again.redelivery, again.status_code, again.status) == (failed.guid, True, 200, "OK")
    assert again.id != failed.id
    whole = jwt.get_webhook_delivery(again.id).parsed_data
    assert whole.event == "issues"
    assert inbox.received[1][1] == body
    assert inbox.received[1][0]["x-github-delivery"] == headers["x-github-delivery"]


def test_webhooks_are_shaped_as_github_describes(hub: Hub, app: AppCredentials, inbox: Inbox) -> None:
    sha = branch(hub, "x", {"a": "c"})
    grace, ours = hub.person("grace"), as_installation(hub, app).rest
    number = grace.open_issue(SHOP, "t", "b", ["bug"])
    grace.unlabel(SHOP, number, "bug")
    grace.edit_issue(SHOP, number, title="z")
    comment = grace.comment(SHOP, number, "x")
    grace.edit_comment(SHOP, comment, "y")
    grace.delete_comment(SHOP, comment)
    grace.close(SHOP, number)
    grace.reopen(SHOP, number)
    button = {"label": "a", "description": "b", "identifier": "c"}
    check = ours.checks.create(
        *HOME, data={"name": "o", "head_sha": sha, "conclusion": "neutral", "actions": [button]}
    ).parsed_data
    grace.press(SHOP, check.id, "c")
    pull = ours.pulls.create(*HOME, title="t", head="x", base="main", draft=True).parsed_data.number
    grace.review(SHOP, pull, "COMMENT", "hi")
    grace.label(SHOP, pull, "bug")
    grace.close(SHOP, pull)
    hub.repository("ada/second", {"a": "b"})
    hub.install(app, "ada/second", PERMISSIONS)
    hub.wait_idle(20)
    for change in ("removed", "suspend", "unsuspend", "deleted"):
        hub.change_installation(app, "ada/second" if change == "removed" else SHOP, change)
    hub.wait_idle(20)
    for headers, body in inbox.received:
        assert parse(headers["x-github-event"], body)
    assert {event for event, _ in inbox.events()} == {
        "check_run",
        "installation",
        "installation_repositories",
        "issue_comment",
        "issues",
        "pull_request",
        "pull_request_review",
    }
    assert {action for event, action in inbox.events() if event.startswith("installation")} == {
        "created", "added", "removed", "suspend", "unsuspend", "deleted",
    }  # fmt: skip
    assert {action for event, action in inbox.events() if event == "issues"} == {
        "closed", "edited", "labeled", "opened", "reopened", "unlabeled",
    }  # fmt: skip


def test_graphql_tells_the_threads_of_a_review_and_resolves_them(hub: Hub, app: AppCredentials) -> None:
    lines = [f"line {number}\n" for number in range(1, 7)]
    sha = branch(hub, "ostler/2", {"README.md": "hello\n", "src/a.py": "".join(lines)})
    ours, grace = as_installation(hub, app).rest, as_person(hub, "grace")
    number = ours.pulls.create(*HOME, title="Fix", head="ostler/2", base="main", draft=True).parsed_data.number
    found = [{"path": "src/a.py", "line": 5, "start_line": 4, "body": "both"}, {"path": "src/a.py", "line": 2, "body": "one"}]
    review = grace.rest.pulls.create_review(*HOME, number, event="REQUEST_CHANGES", body="no", comments=found).parsed_data
    first, second = grace.rest.pulls.list_review_comments(*HOME, number).parsed_data
    ours.pulls.create_reply_for_review_comment(*HOME, number, first.id, body="done")
    query = """query($owner: String!, $name: String!, $number: Int!, $after: String) {
        repository(owner: $owner, name: $name) { pullRequest(number: $number) { headRefOid
        reviews(last: 9) { nodes { databaseId lastEditedAt } }
        reviewThreads(first: 1, after: $after) { totalCount pageInfo { hasNextPage endCursor } nodes {
        id isResolved isOutdated path line startLine diffSide
        comments(first: 9) { nodes { databaseId lastEditedAt } } } } } } }"""

    def told(after: str | None = None) -> Any:
        variables = {"owner": "ada", "name": "shop", "number": number, "after": after}
        return grace.graphql(query, variables)["repository"]["pullRequest"]

    whole = told()
    assert (whole["headRefOid"], whole["reviews"]["nodes"]) == (sha, [{"databaseId": review.id, "lastEditedAt": None}])
    page = whole["reviewThreads"]
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == (2, True)
    (thread,) = page["nodes"]
    assert (thread["path"], thread["startLine"], thread["line"], thread["diffSide"]) == ("src/a.py", 4, 5, "RIGHT")
    assert [one["databaseId"] == first.id for one in thread["comments"]["nodes"]] == [True, False]
    second_page = page["pageInfo"]["endCursor"]
    (other,) = told(second_page)["reviewThreads"]["nodes"]
    assert (other["startLine"], other["line"], other["isOutdated"]) == (None, 2, False)

    bare, who = hub.bare(hub.found(SHOP)), Signature("grace", "grace@localhost", hub.now())
    tree = bare.import_files({"README.md": "hello\n", "src/a.py": "new\n" + "".join([*lines[:4], "other\n", lines[5]])})
    hub.person("grace").request(
        "PATCH", f"/repos/{SHOP}/git/refs/heads/ostler/2", {"sha": bare.write_commit(tree, [sha], who, who, "More\n")}
    )
    assert [told()["reviewThreads"]["nodes"][0][name] for name in ("isOutdated", "line")] == [True, None]
    assert told(second_page)["reviewThreads"]["nodes"][0]["line"] == 3

    resolve = "mutation($id: ID!) { resolveReviewThread(input: {threadId: $id}) { thread { id isResolved } } }"
    refused = hub.person("tom").request("POST", hub.graphql_url, {"query": resolve, "variables": {"id": thread["id"]}})
    assert (refused["errors"][0]["type"], told()["reviewThreads"]["nodes"][0]["isResolved"]) == ("FORBIDDEN", False)
    wanted = {"resolveReviewThread": {"thread": {"id": thread["id"], "isResolved": True}}}
    assert as_installation(hub, app).graphql(resolve, {"id": thread["id"]}) == wanted
    assert told()["reviewThreads"]["nodes"][0]["isResolved"] is True
    later = hub.now() + timedelta(minutes=1)
    hub.clock = lambda: later
    grace.rest.pulls.update_review(*HOME, number, review.id, body="no!")
    grace.rest.pulls.update_review_comment(*HOME, second.id, body="one!")
    assert told()["reviews"]["nodes"][0]["lastEditedAt"] == stamp(later)
    assert told(second_page)["reviewThreads"]["nodes"][0]["comments"]["nodes"][0]["lastEditedAt"] == stamp(later)
    asked = ours.pulls.request_reviewers(*HOME, number, reviewers=["grace"]).parsed_data
    assert [user.login for user in asked.requested_reviewers or []] == ["grace"]
    with pytest.raises(RequestFailed):
        ours.pulls.request_reviewers(*HOME, number, reviewers=["sam"])
    grace.rest.pulls.create_review(*HOME, number, event="COMMENT", body="better")
    assert ours.pulls.get(*HOME, number).parsed_data.requested_reviewers == []
