"""Sessions of the App beside the stand-in GitHub: whose label counts, what commands do, what a lost database costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.core.budget import Cap
from bot.core.queue import Priority
from bot.core.session import SessionState
from bot.demo.hub import AppCredentials, Fault, Hub, serve
from bot.github import comments
from bot.github.limits import Clock
from bot.store.database import Database
from bot.telemetry import Asked, Fact, Telemetry
from bot.web import asking
from bot.web.office import Access, Office
from bot.web.worker import Worker
from tests.rooms.app_here import settings

REPO = "octo/stable"
PERMISSIONS = dict.fromkeys(("contents", "issues", "checks", "actions", "pull_requests"), "write") | {"metadata": "read"}
MEMBERS = {"ada": "write", "tri": "triage", "rea": "read"}
MOST_STEPS = 60


@dataclass
class App:
    hub: Hub
    office: Office
    worker: Worker
    facts: list[Fact]

    def work(self) -> None:
        """Sweep, then go on until there is nothing to do."""
        self.worker._sweep_at = 0.0
        for _ in range(MOST_STEPS):
            if not self.worker.once():
                return
        raise AssertionError(f"still at work: {self.office.queue.lanes()}")

    def command(self, who: str, issue: int, text: str, *, twice: bool = False) -> None:
        comment = self.hub.person(who).comment(REPO, issue, text)
        place = self.office.access.place(REPO)
        assert place is not None
        for _ in range(2 if twice else 1):
            asking.comment(self.office, place, issue, comment)

    def get(self, path: str) -> Any:
        return self.hub.person("ada").get(f"/repos/{REPO}/{path}")

    def branches(self) -> list[str]:
        return [ref["ref"] for ref in self.get("git/matching-refs/heads/ostler/")]

    def checks(self) -> list[Any]:
        found = self.get("git/matching-refs/heads/ostler/")
        return [check for ref in found for check in self.get(f"commits/{ref['object']['sha']}/check-runs")["check_runs"]]

    def labels(self, issue: int) -> set[str]:
        return {label["name"] for label in self.get(f"issues/{issue}")["labels"]}

    def said(self, issue: int, *, trouble: bool = False) -> list[str]:
        """What the App said there: its answers, or that no workflow run goes on."""
        found = [comment["body"] for comment in self.get(f"issues/{issue}/comments") if comment["user"]["type"] == "Bot"]
        return [text for text in found if text.startswith("<!-- ostler:trouble") == trouble]

    def state(self, issue: int) -> SessionState:
        rows = self.office.runs.of_issue(self.hub.found(REPO).id, issue)
        assert len(rows) == 1
        return rows[0].state

    def waits_for_approval(self, issue: int) -> None:
        self.office.change(
            self.state(issue).session,
            lambda state: replace(
                state,
                standing="waiting",
                next_job="post",
                outcome="",
                plan_digest="7f" * 32,
                seq=state.seq + 1,
                prev=state.digest,
            ),
        )


@contextmanager
def app_of(hub: Hub, credentials: AppCredentials, database: Path) -> Iterator[App]:
    given = settings(database).model_copy(
        update={
            "app_id": str(credentials.app_id),
            "app_private_key": SecretStr(credentials.private_key_pem),
            "github_api_url": hub.api_url,
        }
    )
    facts: list[Fact] = []
    tables = Database.open(given.database_url)
    hasty = Access(given, Clock(sleep=lambda _: None))
    office = Office(given, tables, Telemetry([facts.append]), hasty)
    try:
        yield App(hub, office, Worker(office), facts)
    finally:
        office.access.close()
        tables.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[App]:
    """A GitHub and an App that nothing happened to yet."""
    with serve(tmp_path / "hub") as hub:
        hub.repository(REPO, {"README.md": "hello\n"}, MEMBERS)
        credentials = hub.app("ostler", None)
        hub.install(credentials, REPO, PERMISSIONS)
        with app_of(hub, credentials, tmp_path) as app:
            yield app


def labelled(app: App, who: str = "ada") -> int:
    issue = app.hub.person("ada").open_issue(REPO, "Sums are wrong", "2 + 3 should be 5")
    app.hub.person(who).label(REPO, issue, "ostler")
    return issue


def test_a_label_that_no_webhook_told_of_starts_one_session(fresh: App) -> None:
    issue = labelled(fresh)
    fresh.work()
    fresh.work()
    state = fresh.state(issue)
    assert fresh.branches() == [f"refs/heads/{state.branch}"]
    assert [check["external_id"] for check in fresh.checks()] == [state.session]
    reactions = fresh.get(f"issues/{issue}/reactions")
    assert [(one["content"], one["user"]["login"]) for one in reactions] == [("eyes", "ostler[bot]")]
    assert state.requested_by == "ada"


def test_a_priority_that_is_set_later_counts_from_the_next_sweep_on(fresh: App) -> None:
    issue = labelled(fresh)
    fresh.work()
    session = fresh.state(issue).session
    assert fresh.office.held(session).priority == Priority.NORMAL
    fresh.hub.person("ada").label(REPO, issue, "Priority:Urgent")
    fresh.office.seen.clear()
    fresh.work()
    assert fresh.office.held(session).priority == Priority.URGENT


def test_a_repository_without_the_workflow_is_told_so(fresh: App) -> None:
    issue = labelled(fresh)
    fresh.work()
    assert "ostler.yml" in fresh.state(issue).outcome
    check = fresh.checks()[0]
    assert (check["status"], check["conclusion"]) == ("completed", "action_required")
    assert fresh.labels(issue) == {"ostler", "ostler:needs-human"}
    fresh.work()
    (told,) = fresh.said(issue, trouble=True)
    assert told.endswith("The default branch has no .github/workflows/ostler.yml: add it as the README shows, then retry.\n")


@pytest.mark.parametrize("case", ["triage", "edited", "stop label", "closed", "unlabelled"])
def test_whose_label_does_not_count_gets_nothing(fresh: App, case: str) -> None:
    issue = labelled(fresh, "tri" if case == "triage" else "ada")
    ada = fresh.hub.person("ada")
    undo: dict[str, Callable[[], None]] = {
        "triage": lambda: None,
        "edited": lambda: ada.edit_issue(REPO, issue, body="2 + 3 should be 6"),
        "stop label": lambda: ada.label(REPO, issue, "ostler:stop"),
        "closed": lambda: ada.close(REPO, issue),
        "unlabelled": lambda: ada.unlabel(REPO, issue, "ostler"),
    }
    undo[case]()
    fresh.work()
    assert (fresh.branches(), fresh.said(issue), fresh.office.queue.lanes()) == ([], [], {})


def test_a_lost_database_loses_nothing(fresh: App, tmp_path: Path) -> None:
    issue = labelled(fresh)
    fresh.work()
    fresh.waits_for_approval(issue)
    fresh.office.show(fresh.state(issue).session)
    before = fresh.state(issue)
    credentials = next(iter(fresh.hub.credentials.values()))
    with app_of(fresh.hub, credentials, tmp_path / "anew") as anew:
        anew.command("ada", issue, "/ostler approve 7f7f7f7f")  # before any sweep
        state = anew.state(issue)
        assert (state.session, state.prev, state.seq) == (before.session, before.digest, before.seq + 1)
        assert (state.approved_by, state.standing, state.next_job) == ("ada", "working", "build")
        anew.work()
        assert len(anew.branches()) == len(anew.checks()) == 1


def test_a_state_that_is_gone_from_github_too_is_not_begun_again(fresh: App) -> None:
    issue = labelled(fresh)
    fresh.work()
    session = fresh.state(issue).session
    fresh.command("ada", issue, "/ostler status")
    client = fresh.office.access.client(REPO, fresh.office.held(session).installation)
    comments.put(client, issue, "status", session, "ostler[bot]", "Done.")
    for name in fresh.branches():
        client.delete(f"git/{name}")
    with fresh.office.database.begin() as connection:
        for table in ("sessions", "states"):
            connection.exec_driver_sql(f"delete from {table}")  # noqa: S608 - names of ours
    fresh.office.seen.clear()
    fresh.work()
    assert (fresh.branches(), fresh.office.queue.lanes()) == ([], {})
    assert any(isinstance(fact, Asked) and "state is lost" in fact.outcome for fact in fresh.facts)


class TestCommands:
    @pytest.fixture
    def app(self, fresh: App) -> App:
        self.issue = labelled(fresh)
        fresh.work()
        fresh.waits_for_approval(self.issue)
        return fresh

    def test_status_is_for_everybody_and_answered_once(self, app: App) -> None:
        app.command("rea", self.issue, "/ostler status", twice=True)
        app.command("rea", self.issue, "/ostler help")
        assert len(app.said(self.issue)) == 2

    @pytest.mark.parametrize("text", ["/ostler approve 7f7f7f7f", "/ostler stop", "/ostler retry"])
    @pytest.mark.parametrize("who", ["rea", "tri"])
    def test_who_may_not_write_gets_silence(self, app: App, who: str, text: str) -> None:
        before = app.state(self.issue)
        app.command(who, self.issue, text)
        assert (app.said(self.issue), app.state(self.issue)) == ([], before)

    def test_another_digest_is_answered_with_the_right_one(self, app: App) -> None:
        app.command("ada", self.issue, "/ostler approve 11111111")
        assert app.state(self.issue).standing == "waiting"
        assert "7f7f7f7f" in app.said(self.issue)[0]

    def test_an_approval_counts_once_and_is_queued(self, app: App) -> None:
        app.command("ada", self.issue, "/ostler approve 7f7f7f7f", twice=True)
        state = app.state(self.issue)
        assert (state.approved_digest, state.approved_by, state.next_job) == ("7f" * 32, "ada", "build")
        assert app.office.queue.lanes() == {"queued": 1}
        assert (app.said(self.issue), app.labels(self.issue)) == ([], {"ostler", "ostler:building"})

    def test_stop_ends_it_and_retry_goes_on(self, app: App) -> None:
        app.command("ada", self.issue, "/ostler stop", twice=True)
        assert (app.state(self.issue).standing, app.state(self.issue).stopped_by) == ("over", "ada")
        assert (app.checks()[0]["conclusion"], app.said(self.issue)) == ("neutral", [])
        app.command("ada", self.issue, "/ostler retry", twice=True)
        assert (app.state(self.issue).standing, app.state(self.issue).stopped_by) == ("working", "")
        assert app.state(self.issue).resumed_at == app.get(f"issues/{self.issue}/comments")[-1]["created_at"]

    def test_another_plan_is_asked_for_once_and_the_one_before_is_void(self, app: App) -> None:
        app.command("tri", self.issue, "/ostler revise it")
        assert app.state(self.issue).standing == "waiting"
        app.command("ada", self.issue, "/ostler revise it\n\nall", twice=True)
        state = app.state(self.issue)
        assert (state.standing, state.next_job, state.plan_digest) == ("working", "plan", "")
        assert state.revised_for == app.get(f"issues/{self.issue}/comments")[-1]["id"]
        assert (app.office.queue.lanes(), app.said(self.issue)) == ({"queued": 1}, [])
        app.command("ada", self.issue, "/ostler approve 7f7f7f7f")
        assert "No plan waits for approval here." in app.said(self.issue)[0]
        assert app.state(self.issue).approved_digest == ""

    def test_an_issue_that_was_edited_has_no_other_plan_made(self, app: App) -> None:
        app.hub.person("ada").edit_issue(REPO, self.issue, body="2 + 3 should be 6")
        app.command("ada", self.issue, "/ostler revise it")
        assert app.state(self.issue).standing == "waiting"
        assert "was edited after the session was asked for" in app.said(self.issue)[0]

    def test_one_session_of_an_issue_at_a_time(self, app: App) -> None:
        app.command("ada", self.issue, "/ostler plan", twice=True)
        app.command("ada", self.issue, "/ostler build")
        assert len(app.said(self.issue)) == 2
        assert all("`/ostler approve 7f7f7f7f` has exactly it built" in text for text in app.said(self.issue))
        assert len(app.branches()) == 1

    def test_more_money_counts_once_and_is_told_where_it_does_not_count_yet(self, app: App) -> None:
        app.command("ada", self.issue, "/ostler budget +2 it is large", twice=True)
        state = app.state(self.issue)
        assert (state.standing, state.added, state.added_by, state.added_why) == ("waiting", 2_000_000, "ada", "it is large")
        assert [text.rpartition("\n")[0].rpartition("\n")[2] for text in app.said(self.issue)] == [
            "The next workflow run has $2.00 more to spend."
        ]
        app.command("tri", self.issue, "/ostler budget +2")
        app.command("ada", self.issue, "/ostler budget +3")
        assert app.state(self.issue).added == 5_000_000

    def test_a_session_that_waits_for_money_goes_on(self, app: App) -> None:
        session = app.state(self.issue).session
        app.office.change(
            session, lambda state: replace(state, next_job="build", waits="budget", seq=state.seq + 1, prev=state.digest)
        )
        app.command("ada", self.issue, "/ostler budget +0.5", twice=True)
        state = app.state(self.issue)
        assert (state.standing, state.added, app.office.queue.lanes()) == ("working", 500_000, {"queued": 1})
        assert app.said(self.issue) == []

    def test_no_more_than_a_shared_cap_allows(self, app: App) -> None:
        session = app.state(self.issue).session
        app.office.accounts.tell((Cap("session", f"session:{session}", 3_000_000),))
        app.command("ada", self.issue, "/ostler budget +4")
        assert app.state(self.issue).added == 0
        assert "The session cap is $3.00, so this session cannot have $4.00: raise that cap first." in app.said(self.issue)[0]

    def test_the_stop_label_wins(self, app: App) -> None:
        app.hub.person("tri").label(REPO, self.issue, "ostler:stop")
        app.office.seen.clear()
        app.work()
        assert app.state(self.issue).standing == "over"
        assert "tri" in app.state(self.issue).stopped_by

    def test_a_new_label_ends_what_waits_and_begins_anew(self, app: App) -> None:
        first = app.state(self.issue).session
        time.sleep(1.1)  # GitHub's times are whole seconds, and the id of a session holds its label's
        app.hub.person("ada").unlabel(REPO, self.issue, "ostler")
        app.hub.person("ada").label(REPO, self.issue, "ostler")
        app.office.seen.clear()
        app.work()
        newest, oldest = app.office.runs.of_issue(app.hub.found(REPO).id, self.issue)
        assert (oldest.id, oldest.state.standing) == (first, "over")
        assert newest.id != first
        assert len(app.branches()) == 2


def test_a_command_begins_one_session_however_often_it_is_told_of(fresh: App) -> None:
    issue = fresh.hub.person("ada").open_issue(REPO, "Sums are wrong", "2 + 3 should be 5")
    for who in ("tri", "rea"):
        fresh.command(who, issue, "/ostler plan")
    assert (fresh.office.queue.lanes(), fresh.said(issue)) == ({}, [])
    fresh.command("ada", issue, "/ostler plan", twice=True)
    state = fresh.state(issue)
    assert (state.began, state.requested_by, fresh.office.queue.lanes()) == ("plan", "ada", {"new": 1})
    assert state.event == fresh.get(f"issues/{issue}/comments")[-1]["id"]
    fresh.work()
    assert (len(fresh.branches()), fresh.said(issue)) == (1, [])


@pytest.mark.parametrize("kind", ["status-502", "drop-before", "drop-after"])
def test_every_step_of_a_beginning_may_fail_once(fresh: App, kind: Any) -> None:
    issue = labelled(fresh)
    faults = [Fault("POST", rf"/{what}$", kind) for what in ("reactions", "git/commits", "git/refs", "check-runs", "labels")]
    fresh.hub.faults.extend(faults)
    for _ in range(12):
        fresh.office.queue.release()
        fresh.office.seen.clear()
        fresh.work()
    state = fresh.state(issue)
    assert [fault.met for fault in faults] == [1] * len(faults)
    assert fresh.branches() == [f"refs/heads/{state.branch}"]
    assert len(fresh.checks()) == 1
    assert fresh.checks()[0]["status"] == "completed"
