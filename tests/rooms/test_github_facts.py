"""Facts about an issue: whose label it is, who may write, what was edited, who said stop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from bot.core.errors import SetupError
from bot.core.triggers import Actor, Asked, Intent, Refusal, started
from bot.github import facts
from bot.github.client import Client, NotFound
from tests.rooms.small_github import REPOSITORY, Reply, Request, SmallGitHub, small_github

PLACE = f"/repos/{REPOSITORY}"
MONA = {"login": "mona", "id": 7, "type": "User"}
ROBOT = {"login": "robot[bot]", "id": 8, "type": "Bot"}


def at(second: int) -> str:
    return f"2026-11-21T10:00:{second:02}Z"


class World:
    """An issue whose label mona, who may write, set in second 20."""

    def __init__(self, hub: SmallGitHub, client: Client) -> None:
        self.hub, self.client = hub, client
        self.issue: dict[str, Any] = {
            "number": 42, "title": "Sums", "body": None, "user": MONA, "state": "open", "labels": [{"name": "ostler"}],
        }  # fmt: skip
        self.events: list[dict[str, Any]] = []
        self.edited: Any = {"data": {"repository": {"issue": {"lastEditedAt": None}}}}
        self.permission("mona", MONA, "write")
        hub.on("GET", f"{PLACE}/issues/42", lambda _: Reply(200, self.issue))
        hub.on("GET", f"{PLACE}/issues/42/events", self._events)
        hub.on("POST", "/api/graphql", lambda _: Reply(200, self.edited))
        self.event(20, "labeled", label="ostler")

    def _events(self, request: Request) -> Reply:
        return self.hub.page(request, Reply(200, self.events), stale=False)

    def event(self, second: int, kind: str, actor: Any = MONA, **more: Any) -> None:
        named = {"label": {"name": more["label"]}} if "label" in more else {}
        event = {"id": 1000 + len(self.events), "event": kind, "actor": actor, "created_at": at(second), **named}
        self.events.append(event)

    def permission(self, path: str, user: Any, permission: str) -> None:
        answer = {"permission": permission, "role_name": permission, "user": user}
        self.hub.on("GET", f"{PLACE}/collaborators/{path}/permission", Reply(200, answer))

    def comment(self, body: str, second: int = 30, user: Any = MONA, edited: int = 0) -> int:
        made = self.hub.add_comment(body, created_at=at(second), updated_at=at(edited or second))
        made |= {"user": user, "issue_url": f"{self.hub.api}{PLACE}/issues/42"}
        self.hub.on("GET", f"{PLACE}/issues/comments/{made['id']}", Reply(200, made))
        return int(made["id"])


@pytest.fixture
def world() -> Iterator[World]:
    with small_github() as hub, hub.client() as client:
        yield World(hub, client)


def test_an_issue(world: World) -> None:
    told = facts.issue(world.client, 42)
    assert (told.title, told.body, told.author, told.open, told.labels) == ("Sums", "", "mona", True, ("ostler",))
    assert told.labelled is not None
    assert (told.labelled.id, told.labelled.at, told.labelled.actor) == (1000, at(20), Actor("mona", 7, "User", "write"))
    assert (told.edited_at, told.edits_known, told.is_pull) == (None, True, False)
    assert isinstance(started(9, told), Intent)
    with pytest.raises(NotFound):
        facts.issue(world.client, 43)


def test_the_latest_label_counts(world: World) -> None:
    world.event(21, "labeled", ROBOT, label="ostler:planning")
    world.event(22, "unlabeled", label="ostler")
    assert facts.issue(world.client, 42).labelled is None
    world.event(23, "labeled", label="ostler")
    world.event(24, "unlabeled", label="ostler:planning")
    world.events.reverse()  # whatever order they come in
    told = facts.issue(world.client, 42).labelled
    assert told is not None
    assert told.at == at(23)


def test_in_one_second_the_ids_tell_the_order(world: World) -> None:
    world.event(20, "unlabeled", label="ostler")
    world.events.reverse()
    assert facts.issue(world.client, 42).labelled is None


@pytest.mark.parametrize(
    ("told", "counts"),
    [("admin", "admin"), ("write", "write"), ("maintain", "write"), ("triage", "read"), ("read", "read"), ("none", "none"),
     ("own", "none")],
)  # fmt: skip
def test_permissions(world: World, told: str, counts: str) -> None:
    world.permission("mona", MONA, told)
    assert facts.permission(world.client, "mona", 7) == counts


def test_who_is_nobody_here(world: World) -> None:
    assert facts.permission(world.client, "stranger", 1) == "none"
    assert facts.permission(world.client, "mona", 6) == "none"  # a login that another account took over
    assert facts.actor(world.client, None) == Actor("ghost", 0, "User", "none")
    world.permission("robot%5Bbot%5D", ROBOT, "write")
    assert facts.actor(world.client, ROBOT) == Actor("robot[bot]", 8, "Bot", "write")
    world.hub.trouble("GET", "permission", 403)
    with pytest.raises(SetupError):
        facts.permission(world.client, "mona", 7)


def test_edits(world: World) -> None:
    def told() -> tuple[bool, str | None]:
        seen = facts.issue(world.client, 42)
        return seen.edits_known, seen.edited_at

    world.edited["data"]["repository"]["issue"]["lastEditedAt"] = at(25)
    assert told() == (True, at(25))
    world.event(27, "renamed")
    assert told() == (True, at(27))
    world.edited["data"]["repository"]["issue"]["lastEditedAt"] = None
    assert told() == (True, at(27))
    assert isinstance(started(9, facts.issue(world.client, 42)), Refusal)


@pytest.mark.parametrize(
    "answer",
    [
        {"data": None},
        {"data": {"repository": None}},
        {"data": {"repository": {"issue": None}}},
        {"data": {"repository": {"issue": {}}}},
        {"data": {"repository": {"issue": {"lastEditedAt": 5}}}},
        {"errors": [{"type": "undefinedField", "message": "no such field"}]},
        {"errors": [{"type": "NOT_FOUND", "message": "no issue"}]},
    ],
    ids=range(7),
)
def test_an_edit_that_github_does_not_tell_about_refuses(world: World, answer: Any) -> None:
    world.edited = answer
    told = facts.issue(world.client, 42)
    assert not told.edits_known
    assert isinstance(started(9, told), Refusal)


def test_a_pull_request_is_no_issue(world: World) -> None:
    world.issue["pull_request"] = {}
    assert facts.issue(world.client, 42).is_pull


# --- commands ---


def test_what_a_comment_asks_for(world: World) -> None:
    mona = Actor("mona", 7, "User", "write")
    first, second = world.comment("/ostler approve 3f9a1c2b\nthanks"), world.comment("/ostler stop", 30, edited=31)
    assert facts.asked(world.client, [42], first) == Asked("approve", "3f9a1c2b", mona, comment=first, place=42, at=at(30))
    assert facts.asked(world.client, [42], second) == Asked("stop", "", mona, edited=True, comment=second, place=42, at=at(30))
    assert facts.asked(world.client, [42], world.comment("please /ostler stop")) is None
    assert facts.asked(world.client, [41], world.comment("/ostler stop")) is None
    assert facts.asked(world.client, [2], world.comment("/ostler stop")) is None
    assert facts.asked(world.client, [42], 9999) is None


def test_nobody_stopped(world: World) -> None:
    world.comment("/ostler stop", 19)
    world.comment("/ostler status", 30)
    world.comment("/ostler stop", 30, edited=31)
    world.comment("/ostler stop", 30, user=None)
    world.comment("/ostler stop", 30, user={"login": "stranger", "id": 3, "type": "User"})
    world.permission("robot%5Bbot%5D", ROBOT, "write")
    world.comment("/ostler stop", 30, user=ROBOT)
    assert facts.stopped(world.client, [42], at(20)) is None


def test_somebody_stopped(world: World) -> None:
    world.comment("/ostler stop", 20)
    assert facts.stopped(world.client, [42], at(20)) == "mona"
    assert facts.stopped(world.client, [42], at(21)) is None
    world.issue["labels"] = ["ostler", "ostler:stop"]
    assert facts.stopped(world.client, [42], at(21)) == "somebody"
    world.event(22, "labeled", {"login": "triager", "id": 5, "type": "User"}, label="ostler:stop")
    assert facts.stopped(world.client, [42], at(21)) == "triager"
    world.events[-1]["actor"] = None
    assert facts.stopped(world.client, [42], at(21)) == "somebody"
