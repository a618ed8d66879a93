"""What the App does about what is said on a session's pull request, beside the stand-in GitHub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from bot.core.session import SessionState
from bot.demo.hub import serve
from bot.demo.hub.git import Signature
from bot.demo.hub.state import CheckRun
from bot.github.webhook import CheckRun as Pressed
from bot.github.webhook import Delivery, Sender
from bot.store.database import sessions, states
from bot.web import asking, following
from tests.rooms.test_web_sessions import MEMBERS, PERMISSIONS, REPO, App, app_of, labelled


@dataclass
class Delivered:
    """A session whose pull request stands."""

    app: App
    issue: int
    pull: int
    head: str

    @property
    def state(self) -> SessionState:
        return self.app.state(self.issue)

    def ended(self, **changes: Any) -> None:
        """The session is over, and well unless `changes` say otherwise."""
        well: dict[str, Any] = {"standing": "over", "run_state": "DONE_SUCCESS", "outcome": "done", "waits": "", "working_run": 0}
        self.app.office.change(
            self.state.session,
            lambda state: replace(state, **well | changes, seq=state.seq + 1, prev=state.digest, issued_at=self.app.office.at),
        )
        self.app.office.show(self.state.session)

    def says(self, text: str, who: str = "ada", *, place: int = 0, twice: bool = False) -> list[str]:
        """What is answered to a comment on the pull request."""
        number = place or self.pull
        before = len(self.app.said(number))
        comment = self.app.hub.person(who).comment(REPO, number, text)
        found = self.app.office.access.place(REPO)
        assert found is not None
        for _ in range(2 if twice else 1):
            asking.comment(self.app.office, found, number, comment, is_pull=number == self.pull)
        return [body.partition("\n")[2].strip() for body in self.app.said(number)[before:]]

    def looks(self) -> SessionState:
        found = self.app.office.access.place(REPO)
        assert found is not None
        following.look(self.app.office, found, self.pull)
        return self.state

    def check(self, conclusion: str | None, name: str = "lint") -> None:
        """A check run of somebody else's, at the head."""
        home = self.app.hub.found(REPO)
        other = next((one for one in self.app.hub.state.apps.values() if one.slug == "ci"), None)
        app_id = other.id if other else self.app.hub.app("ci", None).app_id
        made = CheckRun(self.app.hub.state.next_id(), name, self.head, app_id, 1, "completed" if conclusion else "in_progress")
        made.conclusion, made.completed_at = conclusion, self.app.hub.now() if conclusion else None
        home.checks[made.id] = made


@pytest.fixture
def done(tmp_path: Path) -> Iterator[Delivered]:
    with serve(tmp_path / "hub") as hub:
        hub.repository(REPO, {"README.md": "hello\n"}, MEMBERS)
        credentials = hub.app("ostler", None)
        hub.install(credentials, REPO, PERMISSIONS)
        with app_of(hub, credentials, tmp_path) as app:
            issue = labelled(app)
            app.work()
            state, bare = app.state(issue), hub.bare(hub.found(REPO))
            who = Signature("Ostler", "ostler@localhost", hub.now())
            head = bare.write_commit(bare.import_files({"README.md": "bye\n"}), [state.anchor_sha], who, who, "Change\n")
            bare.set_ref(f"refs/heads/{state.branch}", head, state.anchor_sha)
            content = {"title": "Change", "head": state.branch, "base": "main", "draft": True}
            made = hub.person("ada").request("POST", f"/repos/{REPO}/pulls", content)["number"]
            delivered = Delivered(app, issue, made, head)
            delivered.ended(pull=made, head_sha=head, fix_checks=2)
            yield delivered


def test_a_review_is_found_by_the_sweep_and_followed_once(done: Delivered) -> None:
    done.app.hub.person("tri").suggest(REPO, done.pull, [], "no")
    assert done.looks().follow == ""
    owner = done.app.hub.found(REPO).owner.login
    number = done.app.hub.person(owner).suggest(REPO, done.pull, [], "Say goodbye.")
    done.app.work()
    assert done.state.follow.endswith(f" review-{number}")
    assert (done.state.follow_by, done.state.head_sha, done.state.from_sha) == (owner, done.head, done.head)
    done.ended()
    before = done.state
    done.app.work()
    assert done.looks() == before


def test_what_is_said_while_the_session_is_at_work_is_next(done: Delivered) -> None:
    done.ended(standing="working")
    (said,) = done.says("/ostler fix it", twice=True)
    assert said == "The session is at work or waits for a person: this is next."
    assert done.state.follow == ""
    done.ended()
    assert " fix-" in done.looks().follow
    done.ended()
    assert done.says("/ostler fix it again", twice=True) == []
    assert done.state.standing == "working"


def test_what_cannot_be_followed_is_told_in_one_line(done: Delivered) -> None:
    assert done.says("/ostler fix it", "tri") == []
    assert done.says("/ostler fix it", place=done.issue) == [f"Say that on the pull request `#{done.pull}`."]
    assert done.says("/ostler fix-ci") == ["No check of the branch's head failed: there is nothing to mend."]
    done.app.hub.person("ada").close(REPO, done.pull)
    (closed,) = done.says("/ostler fix it")
    assert closed.startswith(f"Pull request `#{done.pull}` is closed")
    assert done.state.follow == ""


def test_checks_are_mended_when_all_ended_and_so_many_times_in_a_row(done: Delivered) -> None:
    done.check("failure")
    done.check(None, "slow")
    assert done.looks().follow == ""
    done.app.hub.found(REPO).checks = {
        number: check for number, check in done.app.hub.found(REPO).checks.items() if check.name != "slow"
    }
    assert done.looks().follow.endswith(f" checks-{done.head}")
    assert (done.state.ci_fixes, done.state.follow_by) == (1, "")
    done.ended(ci_fixes=2, follow="")
    assert done.looks().follow == ""
    assert done.says("/ostler fix-ci") == []
    assert (done.state.ci_fixes, done.state.follow_by) == (0, "ada")


def test_the_button_mends_checks_that_failed(done: Delivered) -> None:
    done.ended(fix_checks=0)
    found = done.app.office.access.place(REPO)
    assert found is not None
    pressed = Pressed(5, done.state.session, done.head, done.app.office.access.app_id)

    def press(login: str) -> None:
        user = done.app.hub.user(login)
        sender = Sender(login, user.id, user.type)
        delivery = Delivery("check_run", "requested_action", sender, 1, check_run=pressed, requested_action="fix-ci")
        asking.button(done.app.office, found, delivery)

    press("ada")
    assert done.state.follow == ""
    done.check("timed_out")
    press("tri")
    assert done.state.follow == ""
    press("ada")
    assert done.state.follow.endswith(f" checks-{done.head}")
    assert (done.state.ci_fixes, done.state.follow_by) == (0, "ada")


def test_a_session_that_the_database_lost_is_followed_all_the_same(done: Delivered) -> None:
    before, office = done.state, done.app.office
    with office.database.begin() as connection:
        for table in (sessions, states):
            connection.execute(sa.delete(table))
    assert office.runs.get(before.session) is None
    done.says("/ostler fix it")
    after = done.state
    assert (after.session, after.seq) == (before.session, before.seq + 1)
    assert " fix-" in after.follow
