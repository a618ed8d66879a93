"""Comments, check runs, labels, branches: once, whatever the network does and however often it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bot.core.errors import BugError, PolicyError, SetupError
from bot.github import actions, checks, comments, labels, refs
from bot.github.checks import Action, Check
from bot.github.client import Client, Conflict, NotFound
from tests.rooms.small_github import APP_ID, AT, BOT, REPOSITORY, Reply, SmallGitHub, small_github

SESSION = "issue-42-3f9a1c2b_20261121_113431"
BRANCH = "ostler/issue-42-sums-3f9a1c2b"
TROUBLE: tuple[int | str, ...] = (500, 502, 429, "drop-before", "drop-after")


@pytest.fixture
def hub() -> Iterator[SmallGitHub]:
    with small_github() as hub:
        yield hub


@pytest.fixture
def client(hub: SmallGitHub) -> Iterator[Client]:
    with hub.client() as client:
        yield client


# --- comments ---


def put(client: Client, body: str = "The plan", kind: str = "plan") -> int:
    return comments.put(client, 42, kind, SESSION, BOT, body)


@pytest.mark.parametrize("kind", TROUBLE)
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_one_comment_whatever_happens(hub: SmallGitHub, client: Client, kind: int | str, method: str) -> None:
    hub.trouble(method, "comments", kind, times=2)
    first = put(client)
    assert put(client, "A better plan") == first
    assert [comment["body"].split("\n") for comment in hub.comments] == [[comments.marker("plan", SESSION), "A better plan"]]


def test_the_same_words_are_not_written_again(hub: SmallGitHub, client: Client) -> None:
    assert put(client) == put(client)
    assert len(hub.asked("POST")) == 1
    assert not hub.asked("PATCH")


def test_a_list_that_lags_costs_a_duplicate_that_goes_away(hub: SmallGitHub, client: Client) -> None:
    first = put(client)
    hub.trouble("GET", "comments", "stale")
    put(client)
    assert [comment["id"] for comment in hub.comments] == [first]


def test_a_lost_answer_and_a_list_that_lags(hub: SmallGitHub, client: Client) -> None:
    hub.add_comment("hello", "mona")
    hub.trouble("POST", "comments", "drop-after")
    hub.trouble("GET", "comments", "stale", times=3)  # before making, and in the first two looks after it
    put(client)
    assert len(hub.comments) == 2
    assert len(hub.asked("POST")) == 1


def test_only_our_own_first_line_counts(hub: SmallGitHub, client: Client) -> None:
    first = comments.marker("plan", SESSION)
    for author, body in (
        ("mallory", f"{first}\nmine"),
        (BOT, f"quoting\n{first}"),
        (BOT, f"{first} and more\nx"),
        (BOT, comments.marker("audit", SESSION)),
        (BOT, comments.marker("plan", SESSION + "0")),
        (BOT, ""),
    ):
        hub.add_comment(body, author)
    assert comments.find(client, 42, "plan", SESSION, BOT) is None
    made = put(client)
    assert len(hub.comments) == 7
    hub.comments[-1]["body"] = hub.comments[-1]["body"].replace("\n", "\r\n")
    found = comments.find(client, 42, "plan", SESSION, BOT)
    assert found is not None
    assert found.id == made


def test_a_long_comment_is_cut(hub: SmallGitHub, client: Client) -> None:
    put(client, "x" * 100_000)
    assert len(hub.comments[0]["body"]) == comments.MAX_CHARACTERS
    assert "cut" in hub.comments[0]["body"][-60:]


@pytest.mark.parametrize("word", ["", "a b", "-->", "a--b", "a\n", "<", "-a"])
def test_nothing_breaks_out_of_a_marker(word: str) -> None:
    with pytest.raises(BugError):
        comments.marker(word, SESSION)
    with pytest.raises(BugError):
        comments.marker("plan", word)


def test_eyes(hub: SmallGitHub, client: Client) -> None:
    for place in ("issues/42", "issues/comments/7"):
        hub.on("POST", f"/repos/{REPOSITORY}/{place}/reactions", Reply(201, {}))
    hub.trouble("POST", "reactions", "drop-after")
    comments.react(client, "eyes", issue=42)
    comments.react(client, "eyes", comment=7)
    assert [request.body for request in hub.log] == [{"content": "eyes"}] * 3


# --- check runs ---


def check(**changes: Any) -> Check:
    plain: dict[str, Any] = {"head_sha": "a" * 40, "session": SESSION, "status": "in_progress", "title": "T", "summary": "S"}
    return Check(**{**plain, "text": "signed", **changes})


DONE: dict[str, Any] = {"status": "completed", "conclusion": "success", "actions": (Action("Stop", "Stop it", "stop"),)}


@pytest.mark.parametrize("kind", TROUBLE)
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
def test_one_check_run_whatever_happens(hub: SmallGitHub, client: Client, kind: int | str, method: str) -> None:
    hub.trouble(method, "check-runs", kind, times=2)
    first = checks.put(client, check(), app_id=APP_ID)
    assert checks.put(client, check(**DONE), app_id=APP_ID) == first
    assert len(hub.checks) == 1
    assert hub.checks[0]["conclusion"] == "success"
    assert hub.checks[0]["actions"] == [{"label": "Stop", "description": "Stop it", "identifier": "stop"}]
    assert hub.checks[0]["output"]["text"] == "signed"


def test_a_second_check_run_is_superseded_once(hub: SmallGitHub, client: Client) -> None:
    first = checks.put(client, check(), app_id=APP_ID)
    hub.trouble("GET", "check-runs", "stale")
    assert checks.put(client, check(text="newer"), app_id=APP_ID) == first
    one, two = hub.checks
    assert (one["status"], one["output"]["text"]) == ("in_progress", "newer")
    assert (two["status"], two["conclusion"], two["output"]["title"]) == ("completed", "neutral", "Superseded")
    patched = len(hub.asked("PATCH"))
    checks.put(client, check(text="newest"), app_id=APP_ID)
    assert len(hub.asked("PATCH")) == patched + 1


def test_other_commits_sessions_and_apps_have_their_own(hub: SmallGitHub, client: Client) -> None:
    ids = {
        checks.put(client, check(), app_id=APP_ID),
        checks.put(client, check(head_sha="b" * 40), app_id=APP_ID),
        checks.put(client, check(session=SESSION + "0"), app_id=APP_ID),
    }
    hub.checks.append({**hub.checks[0], "id": 1, "app": {"id": 666}, "output": {"text": "forged"}})
    assert checks.put(client, check(), app_id=APP_ID) in ids
    assert len(ids) == 3
    read = checks.read_states(client, ["a" * 40, "b" * 40, "a" * 40, "c" * 40], APP_ID)
    assert {stated.id for stated in read} == ids
    assert {stated.text for stated in read} == {"signed"}


def test_a_commit_that_is_gone_has_no_states(hub: SmallGitHub, client: Client) -> None:
    hub.on("GET", f"/repos/{REPOSITORY}/commits/{'d' * 40}/check-runs", Reply(422, {"message": "No commit found for SHA"}))
    assert checks.read_states(client, ["d" * 40], APP_ID) == []


def test_a_check_run_that_github_would_not_take(client: Client) -> None:
    for wrong in (
        check(conclusion="success"),
        check(status="completed"),
        check(actions=DONE["actions"]),
        check(text="x" * 65_001),
        check(**{**DONE, "actions": (Action("l", "d", "i" * 21),)}),
        check(**{**DONE, "actions": DONE["actions"] * 4}),
    ):
        with pytest.raises(BugError):
            checks.put(client, wrong, app_id=APP_ID)


def test_long_texts_of_a_check_run_are_cut(hub: SmallGitHub, client: Client) -> None:
    button = Action("l" * 30, "d" * 50, "i" * 20)
    checks.put(client, check(title="t" * 999, summary="s" * 70_000, **{**DONE, "actions": (button,)}), app_id=APP_ID)
    made = hub.checks[0]
    assert [len(made["output"][name]) for name in ("title", "summary")] == [255, 65_000]
    assert [len(made["actions"][0][name]) for name in ("label", "description", "identifier")] == [20, 40, 20]


# --- labels ---


@pytest.mark.parametrize("kind", TROUBLE)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_one_state_label_whatever_happens(hub: SmallGitHub, client: Client, kind: int | str, method: str) -> None:
    hub.issue_labels = ["bug", "ostler", "ostler:planning", "ostler:done", "ostler:stop", "ostler:mine"]
    hub.trouble(method, "labels", kind, times=2)
    labels.set_state(client, 42, "ostler:building")
    assert hub.issue_labels == ["bug", "ostler", "ostler:stop", "ostler:mine", "ostler:building"]
    assert hub.labels == ["ostler:building"]
    assert labels.has(client, 42, "ostler:building")
    labels.set_state(client, 42, None)
    assert not labels.has(client, 42, "ostler:building")


def test_a_label_that_is_right_is_left_alone(hub: SmallGitHub, client: Client) -> None:
    hub.issue_labels = ["ostler:building"]
    labels.set_state(client, 42, "ostler:building")
    assert {request.method for request in hub.log} == {"GET"}
    with pytest.raises(BugError):
        labels.set_state(client, 42, "ostler")


# --- branches ---


def based(hub: SmallGitHub) -> str:
    tree = hub.tree({"a.py": ("100644", hub.blob(b"a = 1\n"))})
    hub.refs["main"] = hub.commit(tree, [], "first")
    return hub.refs["main"]


@pytest.mark.parametrize("kind", TROUBLE)
@pytest.mark.parametrize(("method", "path"), [("GET", "git/ref/"), ("POST", "git/commits"), ("POST", "git/refs")])
def test_one_anchor_whatever_happens(hub: SmallGitHub, client: Client, kind: int | str, method: str, path: str) -> None:
    base = based(hub)
    hub.trouble(method, path, kind, times=2)
    sha = refs.anchor(client, BRANCH, base, SESSION, AT)
    assert refs.anchor(client, BRANCH, base, SESSION, AT) == sha == refs.head(client, BRANCH)
    made = hub.objects[sha]
    assert made["tree"] == hub.objects[base]["tree"]
    assert made["message"].endswith(f"\n\nOstler-Session: {SESSION}\n")
    assert refs.only_parent(made) == base


def test_an_anchor_under_later_work_is_still_the_anchor(hub: SmallGitHub, client: Client) -> None:
    base = based(hub)
    sha = refs.anchor(client, BRANCH, base, SESSION, AT)
    hub.refs[BRANCH] = hub.commit(hub.objects[sha]["tree"]["sha"], [sha], "work")
    assert refs.anchor(client, BRANCH, base, SESSION, AT) == sha


def test_somebody_elses_branch_is_not_taken(hub: SmallGitHub, client: Client) -> None:
    base = based(hub)
    hub.refs[BRANCH] = base
    with pytest.raises(PolicyError, match="already"):
        refs.anchor(client, BRANCH, base, SESSION, AT)
    with pytest.raises(BugError, match="date"):
        refs.anchor(client, f"{BRANCH}-2", base, SESSION, "")


def test_branches_by_their_beginning(hub: SmallGitHub, client: Client) -> None:
    base = based(hub)
    hub.refs |= {f"ostler/issue-4-{number}-x": base for number in range(3)} | {"ostler/issue-42-x": base}
    assert [name for name, _ in refs.matching(client, "ostler/issue-4-")] == [f"ostler/issue-4-{n}-x" for n in range(3)]
    assert refs.head(client, "ostler/issue-4-") is None


# --- workflow runs ---

RUN = {
    "id": 8, "status": "completed", "conclusion": "failure", "run_attempt": 2, "event": "issues", "head_branch": "main",
    "html_url": "http://x", "created_at": AT,
}  # fmt: skip


def test_a_workflow_run_is_started_and_found(hub: SmallGitHub, client: Client) -> None:
    place = f"/repos/{REPOSITORY}/actions"
    hub.on(
        "POST", f"{place}/workflows/ostler.yml/dispatches", Reply(200, {"workflow_run_id": 8, "run_url": "x", "html_url": "y"})
    )
    assert actions.dispatch(client, "ostler.yml", "main", {"issue": "42"}) == 8
    assert hub.log[-1].body == {"ref": "main", "inputs": {"issue": "42"}, "return_run_details": True}
    hub.on("GET", f"{place}/runs/8", Reply(200, RUN))
    run = actions.run(client, 8)
    assert (run.over, run.conclusion, run.attempt) == (True, "failure", 2)
    jobs = [{"id": n, "name": f"improve / {n}", "status": "queued", "conclusion": None} for n in range(3)]
    hub.on("GET", f"{place}/runs/8/jobs", Reply(200, {"total_count": 3, "jobs": jobs}))
    assert [job.name for job in actions.jobs(client, 8)] == ["improve / 0", "improve / 1", "improve / 2"]


@pytest.mark.parametrize(
    ("act", "path", "status", "error"),
    [
        (actions.cancel, "cancel", 202, None),
        (actions.cancel, "cancel", 409, None),
        (actions.rerun_failed, "rerun-failed-jobs", 201, None),
        (actions.rerun_failed, "rerun-failed-jobs", 403, SetupError),
        (actions.rerun_failed, "rerun-failed-jobs", 409, Conflict),
        (actions.run, "", 404, NotFound),
    ],
)
def test_a_workflow_run_is_moved(
    hub: SmallGitHub, client: Client, act: Callable[[Client, int], Any], path: str, status: int, error: type[Exception] | None
) -> None:
    hub.on("POST", f"/repos/{REPOSITORY}/actions/runs/8/{path}", Reply(status, {"message": "said"}))
    if error is None:
        act(client, 8)
        assert hub.log[-1].path.endswith(path)
    else:
        with pytest.raises(error):
            act(client, 8)
