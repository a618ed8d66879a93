"""Workflow runs and the App: who may go on with a session, how it went, and what becomes of one that says nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import pytest

from bot.core.budget import Cap
from bot.core.experience import Audited, Experience, File, KindUse, Outcome, RunCost, Sighting, frozen, read_experience
from bot.telemetry import Judged
from bot.web import allowances, starting
from bot.web.moves import given_up, retried
from tests.rooms.app_here import OTHER_KEY, REPO_ID, SESSION, App, report, row, running, token
from tests.rooms.small_github import REPOSITORY, Reply


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with running(tmp_path) as made:
        yield made


REFUSALS = {
    "no token": (None, 401),
    "another key": ({"key": OTHER_KEY}, 401),
    "another audience": ({"aud": "https://elsewhere.example.com"}, 401),
    "another issuer": ({"iss": "https://elsewhere.example.com"}, 401),
    "ended": ({"exp": 1_000_000_000, "iat": 999_999_000, "nbf": 999_999_000}, 401),
    "another workflow": ({"job_workflow_ref": "evil/evil/.github/workflows/improve.yml@refs/heads/main"}, 403),
    "a workflow of like name": ({"job_workflow_ref": "ostler/ostler/.github/workflows/improve.yml.yml@x"}, 403),
    "a pull request": ({"event_name": "pull_request_target"}, 403),
    "another branch": ({"ref": "refs/heads/feature"}, 403),
    "another repository": ({"repository_id": "10", "repository": "o/other"}, 403),
    "another run": ({"run_id": "78"}, 403),
}


class TestJobs:
    CLAIM: ClassVar = {
        "issue": 42, "session": SESSION, "run_id": 77, "run_attempt": 1,
        "limits": {"run": 2_000_000, "session": 0, "day": 0, "per_repository": 1},
    }  # fmt: skip

    def claim(self, app: App, run: int = 77, **changes: Any) -> dict[str, Any]:
        answer = app.ask("claim", {**self.CLAIM, "run_id": run}, token(run_id=str(run), **changes))
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said

    @pytest.mark.parametrize("case", REFUSALS)
    @pytest.mark.parametrize("endpoint", ["claim", "settle"])
    def test_who_is_not_the_sessions_job_is_refused_without_effect(self, app: App, case: str, endpoint: str) -> None:
        app.add(working_run=77)
        changes, status = REFUSALS[case]
        body = self.CLAIM if endpoint == "claim" else {"report": asdict(report())}
        answer = app.ask(endpoint, body, token(**changes) if changes is not None else None)
        assert answer.status_code == status, answer.text
        assert app.state().seq == 0
        assert app.hub.log == []

    @pytest.mark.parametrize("case", [case for case in REFUSALS if case != "another run"])
    def test_who_is_no_job_of_the_repository_is_told_no_defaults(self, app: App, case: str) -> None:
        changes, status = REFUSALS[case]
        answer = app.ask("defaults", {}, token(**changes) if changes is not None else None)
        assert (answer.status_code, "files" in answer.json()) == (status, False)

    def test_a_job_is_told_the_files_beneath_its_repositorys_own(self, app: App) -> None:
        assert app.ask("defaults", {}, token()).json() == {"files": []}
        owner = REPOSITORY.partition("/")[0]
        home = f"/repos/{owner}/.github"
        app.hub.on("GET", home, Reply(200, {"default_branch": "trunk"}))
        app.hub.on("GET", f"{home}/commits/trunk", Reply(200, {"sha": "c" * 40}))
        assert app.ask("defaults", {}, token()).json() == {"files": []}
        app.hub.on("GET", f"{home}/contents/ostler.yml", Reply(200, {"encoding": "base64", "content": "eDog\nMQ==\n"}))
        (file,) = app.ask("defaults", {}, token()).json()["files"]
        assert file == {"name": f"{owner}/.github/ostler.yml", "commit": "c" * 40, "raw": "eDogMQ=="}
        app.hub.on("GET", f"{home}/contents/ostler.yml", Reply(200, {"encoding": "none", "content": ""}))
        answer = app.ask("defaults", {}, token())
        assert (answer.status_code, "less than 1 MB" in answer.json()["error"]) == (409, True)

    def test_the_dispatched_run_may_go_on_and_may_ask_twice(self, app: App) -> None:
        app.add(working_run=77)
        for _ in range(2):
            said = self.claim(app)
            assert (said["go"], said["state"]) == (True, asdict(app.state()))

    def test_the_first_run_of_two_gets_the_session(self, app: App) -> None:
        app.add()
        first, second = self.claim(app, 77), self.claim(app, 78)
        assert (first["go"], second["go"]) == (True, False)
        assert "77" in second["why"]
        assert app.office.queue.bound(REPO_ID) == {77, 78}
        assert app.state().working_run == 77

    def test_nobody_goes_on_before_github_shows_it(self, app: App) -> None:
        app.add()
        app.hub.trouble("POST", "check-runs", 403)
        assert app.ask("claim", self.CLAIM, token()).status_code == 409
        assert self.claim(app)["go"] is True
        assert [check["status"] for check in app.hub.checks] == ["in_progress"]

    @pytest.mark.parametrize("standing", ["waiting", "over"])
    def test_a_session_that_does_not_work_goes_nowhere(self, app: App, standing: str) -> None:
        app.add(standing=standing)
        assert self.claim(app)["go"] is False

    def test_a_lost_database_is_made_up_for_by_the_check_run(self, app: App) -> None:
        head = app.hub.commit(app.hub.tree({}), [], "Begin ostler/issue-42-sums-3f9a1c2b")
        app.hub.refs["ostler/issue-42-sums-3f9a1c2b"] = head
        app.add(working_run=77)
        lost = replace(row(working_run=77).state, anchor_sha=head)
        app.office.change(SESSION, lambda state: replace(lost, seq=1, prev=state.digest))
        app.office.show(SESSION)
        held = app.state()
        with app.office.database.begin() as connection:
            for table in ("sessions", "states", "bindings"):
                connection.exec_driver_sql(f"delete from {table}")  # noqa: S608 - names of ours
        answer = app.ask("settle", {"report": asdict(report())}, token())
        assert answer.status_code == 200, answer.text
        assert app.state().prev == held.digest
        assert (app.state().standing, app.state().spent) == ("waiting", 700_000)

    def test_a_report_is_settled_once_and_shown(self, app: App) -> None:
        app.add(working_run=77)
        body = {"report": asdict(report())}
        first, second = app.ask("settle", body, token()), app.ask("settle", body, token())
        assert (first.status_code, second.status_code) == (200, 200)
        assert first.json() == second.json() == {"state": asdict(app.state())}
        assert (app.state().seq, app.state().working_run, app.state().standing) == (1, 0, "waiting")
        check = app.hub.checks[0]
        assert (check["conclusion"], check["external_id"]) == ("action_required", SESSION)
        assert [action["identifier"] for action in check["actions"]] == ["approve-7f7f7f7f", "stop"]
        assert len(app.hub.checks) == 1
        assert app.hub.issue_labels == ["ostler:awaiting-approval"]

    def test_a_report_that_could_not_be_shown_is_asked_for_again(self, app: App) -> None:
        app.add(working_run=77)
        app.hub.trouble("POST", "check-runs", 403)
        assert app.ask("settle", {"report": asdict(report())}, token()).status_code == 409
        assert app.office.held(SESSION).shown == 0
        app.office.queue.at_once(SESSION)
        app.worker.once()
        assert app.office.held(SESSION).shown == 1
        assert len(app.hub.checks) == 1

    @pytest.mark.parametrize(
        ("body", "status"),
        [
            ({"report": asdict(report(spent=1))}, 409),
            ({"report": {}}, 422),
            ({"report": {**asdict(report()), "more": 1}}, 422),
            ({"report": {**asdict(report()), "spent": True}}, 422),
            ([], 422),
            ({"report": asdict(report(workflow_run=78))}, 403),
        ],
        ids=["forgets-money", "empty", "more", "bool", "list", "other-run"],
    )
    def test_what_is_no_report_of_this_run_is_refused(self, app: App, body: Any, status: int) -> None:
        app.add(working_run=77, spent=500)
        assert app.ask("settle", body, token()).status_code == status
        assert app.state().seq == 0

    def test_a_run_that_was_settled_does_not_settle_the_next(self, app: App) -> None:
        app.add(working_run=88, artifact_run=77)
        assert app.ask("settle", {"report": asdict(report())}, token()).status_code == 200
        assert (app.state().working_run, app.state().seq) == (88, 0)

    def test_a_token_is_good_for_one_request(self, app: App) -> None:
        app.add(working_run=77)
        one = token()
        assert app.ask("settle", {"report": asdict(report())}, one).status_code == 200
        assert app.ask("settle", {"report": asdict(report())}, one).status_code == 200  # its answer was lost
        assert app.ask("settle", {"report": asdict(report(spent=900_000))}, one).status_code == 401

    def test_a_stopped_session_stays_stopped_and_counts_what_was_spent(self, app: App) -> None:
        app.add(
            working_run=77,
            standing="over",
            stopped_by="ada",
            run_state="DONE_FAILED_REQUIRES_HUMAN_REVIEW",
            outcome="stopped by ada",
        )
        assert app.ask("settle", {"report": asdict(report(standing="working"))}, token()).status_code == 200
        state = app.state()
        assert (state.standing, state.spent, state.working_run) == ("over", 700_000, 0)

    @pytest.mark.parametrize("path", ["/api/jobs/finish", "/api/jobs/", "/", "/docs"])
    def test_there_is_nothing_else(self, app: App, path: str) -> None:
        assert app.post(path, b"{}", {}).status_code in (404, 405)


NO_CAPS = {"run": 2_000_000, "session": 0, "day": 0, "per_repository": 1}


def limits(run: int = 2_000_000, session: int = 0, day: int = 0) -> dict[str, Any]:
    """A claim of the workflow run 77 with these caps."""
    return {**TestJobs.CLAIM, "limits": {"run": run, "session": session, "day": day, "per_repository": 1}}


def today(app: App, most: int) -> Cap:
    return Cap("day", f"day:{REPO_ID}:{datetime.fromtimestamp(app.office.clock(), UTC):%Y-%m-%d}", most)


class TestAllowances:
    """What the caps that sessions share leave for a workflow run."""

    def claim(self, app: App, run: int = 77, **caps: int) -> dict[str, Any]:
        answer = app.ask("claim", {**limits(**caps), "run_id": run}, token(run_id=str(run)))
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said

    def settle(self, app: App, **changes: Any) -> None:
        run = changes.get("workflow_run", 77)
        body = {"report": asdict(report(**{"artifact_run": run, **changes}))}
        for _ in range(2):
            assert app.ask("settle", body, token(run_id=str(run))).status_code == 200

    def left(self, app: App, day: int) -> int:
        return app.office.accounts.left((today(app, day),))["money"][1]

    def test_without_a_cap_nothing_bounds_it_and_what_is_spent_is_counted_all_the_same(self, app: App) -> None:
        app.add(working_run=77)
        assert self.claim(app)["allowance"] == {"amount": None, "cap": ""}
        self.settle(app)
        assert self.left(app, 3_000_000) == 2_300_000

    def test_a_run_gets_what_there_is_the_same_when_it_asks_again_and_gives_back_the_rest(self, app: App) -> None:
        app.add(working_run=77)
        for _ in range(2):
            assert self.claim(app, day=1_500_000)["allowance"] == {"amount": 1_500_000, "cap": "day"}
        assert self.left(app, 1_500_000) == 0
        self.settle(app)
        assert self.left(app, 1_500_000) == 800_000

    def test_no_more_than_the_run_may_still_cost_is_set_aside(self, app: App) -> None:
        app.add(working_run=77, spent=1_200_000)
        assert self.claim(app, day=9_000_000)["allowance"]["amount"] == 800_000

    def test_what_people_added_is_set_aside_too(self, app: App) -> None:
        app.add(working_run=77, spent=1_200_000, added=2_000_000)
        assert self.claim(app, session=9_000_000)["allowance"]["amount"] == 2_800_000

    def test_where_there_is_too_little_the_session_waits_until_there_is_more(self, app: App) -> None:
        app.add(working_run=77)
        app.office.accounts.reserve("allowance/another/1", (today(app, 10**9),), money=900_000, tokens=0, at=0.0)
        said = self.claim(app, day=1_000_000)
        assert (said["go"], said["state"]) == (False, None)
        assert said["why"].startswith("the day cap leaves $0.10 for all sessions, and going on takes $0.20")
        state = app.state()
        assert (state.standing, state.waits, state.needs, state.working_run) == ("waiting", "shared", 200_000, 0)
        assert self.left(app, 1_000_000) == 100_000
        assert app.hub.checks[0]["output"]["title"].startswith("Waits for room: the day cap leaves $0.10")
        assert self.claim(app, day=1_000_000)["why"] == said["why"]
        for spent, lane in ((820_000, "short"), (700_000, "queued")):
            app.office.accounts.reconcile({"allowance/another/1": (spent, 0)})
            allowances.wake(app.office)
            assert app.office.held(SESSION).lane == lane

    def test_of_those_that_wait_under_one_cap_one_goes_on(self, app: App) -> None:
        for number in (1, 2):
            state = replace(row().state, session=f"issue-{number}-3f9a1c2b_20261121_113431", issue=number)
            state = replace(state, standing="waiting", waits="shared", needs=5)
            app.office.runs.add(replace(row(), state=state, issue=number, lane="short"), float(number))
        allowances.wake(app.office)
        assert app.office.queue.lanes() == {"queued": 1, "short": 1}
        assert app.office.held("issue-1-3f9a1c2b_20261121_113431").lane == "queued"

    def test_the_apps_own_cap_holds_over_repositories(self, app: App) -> None:
        app.office.settings.max_cost_per_day = Decimal("0.5")
        app.add(working_run=77)
        assert self.claim(app)["allowance"] == {"amount": 500_000, "cap": "installation"}

    def test_a_lost_jobs_allowance_stays_until_somebody_tells_what_it_spent(self, app: App) -> None:
        app.add(working_run=77)
        self.claim(app, day=5_000_000)
        app.office.change(SESSION, lambda state: given_up(state, "silence", app.office.at, ("build",)))
        assert self.left(app, 5_000_000) == 3_000_000
        app.office.change(SESSION, lambda state: retried(state, app.office.at))
        assert self.claim(app, 78, day=5_000_000)["allowance"]["amount"] == 2_000_000
        assert self.left(app, 5_000_000) == 1_000_000
        self.settle(app, workflow_run=78, spent=1_900_000)
        assert self.left(app, 5_000_000) == 3_100_000

    def test_what_a_run_taught_is_kept_once_and_told_to_the_next(self, app: App) -> None:
        cost = RunCost("bug", "Small", "medium", 700_000, (KindUse("PLAN", 900, 1.5),), app.office.at[:10])
        audited = Audited(
            False, 1, 3, (File("a.py"),), (Sighting("style@a.py", "minor", "a.py:1", "x"),), cost.day, "m", "caught"
        )
        taught = Experience((Outcome("bug", "Small", "anthropic", "m", "fast", True),), (cost,), (audited,))
        app.add(working_run=77)
        assert self.claim(app)["experience"] == {"outcomes": [], "runs": [], "audits": []}
        self.settle(app, standing="over", run_state="DONE_SUCCESS", experience=taught)
        judged = [fact for fact in app.facts if isinstance(fact, Judged)]
        assert [(fact.points, fact.disagreed, fact.planted) for fact in judged] == [(3, 1, "caught")]
        app.office.change(SESSION, lambda state: retried(state, app.office.at))
        assert read_experience(self.claim(app, 78)["experience"]) == frozen(taught)
        assert app.office.accounts.experience("another") == Experience()

    def test_a_report_that_does_not_know_what_a_job_spent_frees_nothing(self, app: App) -> None:
        app.add(working_run=77)
        self.claim(app, day=5_000_000)
        self.settle(app, lost="build", standing="working")
        assert self.left(app, 5_000_000) == 3_000_000
        self.claim(app, 78, day=5_000_000)
        self.settle(app, workflow_run=78, spent=1_100_000)
        assert self.left(app, 5_000_000) == 3_900_000

    def test_a_session_that_only_github_knows_is_counted(self, app: App) -> None:
        """The database was lost: what the session has spent by its state still counts under its caps."""
        state = replace(row().state, spent=700_000, seq=3)
        place = app.office.access.place(REPOSITORY)
        assert place is not None
        for _ in range(2):
            starting.adopt(app.office, place, state, "", 2)
        assert self.left(app, 1_000_000) == 300_000

    @pytest.mark.parametrize(
        "wrong",
        [
            None,
            [],
            {"run": 1},
            {**NO_CAPS, "run": 0},
            {**NO_CAPS, "session": -1},
            {**NO_CAPS, "day": 10**18},
            {**NO_CAPS, "per_repository": 0},
            {**NO_CAPS, "per_repository": 21},
        ],
    )
    def test_a_claim_without_caps_that_can_be_kept_is_refused(self, app: App, wrong: Any) -> None:
        app.add(working_run=77)
        assert app.ask("claim", {**TestJobs.CLAIM, "limits": wrong}, token()).status_code == 422


class TestWatching:
    def run(self, app: App, status: str, attempt: int = 1, conclusion: str | None = None) -> None:
        about = {"id": 77, "status": status, "conclusion": conclusion, "run_attempt": attempt, "event": "workflow_dispatch"}
        about |= {"head_branch": "main", "html_url": "https://x", "created_at": "2026-11-21T11:40:00Z"}
        app.hub.on("GET", f"/repos/{REPOSITORY}/actions/runs/77", Reply(200, about))

    def look(self, app: App) -> None:
        app.office.queue.at_once(SESSION)
        app.worker.once()

    def test_a_run_that_ended_in_silence_is_run_again_once_then_a_person_is_asked(self, app: App) -> None:
        app.add(working_run=77)
        app.hub.on("POST", f"/repos/{REPOSITORY}/actions/runs/77/rerun-failed-jobs", Reply(201, {}))
        ended = {"gate": "success", "build": "failure"}
        listed = [{"id": 1, "name": f"improve / {name}", "status": "completed", "conclusion": how} for name, how in ended.items()]
        app.hub.on("GET", f"/repos/{REPOSITORY}/actions/runs/77/jobs", Reply(200, {"jobs": listed}))
        self.run(app, "in_progress")
        self.look(app)
        assert app.state().seq == 0
        self.run(app, "completed", 1, "failure")
        self.look(app)
        assert (app.state().working_run, len(app.hub.asked("POST", "rerun-failed-jobs"))) == (77, 1)
        self.run(app, "completed", 2, "failure")
        self.look(app)
        state = app.state()
        assert (state.standing, state.working_run, state.lost) == ("waiting", 0, "build")
        assert [(check["status"], check["conclusion"]) for check in app.hub.checks] == [("completed", "action_required")]
        assert app.hub.issue_labels == ["ostler:needs-human"]
        assert len(app.hub.asked("POST", "rerun-failed-jobs")) == 1
        (told,) = app.hub.comments
        assert "The workflow run ended without telling what became of it" in told["body"]

    def test_a_run_that_is_gone_is_given_up(self, app: App) -> None:
        app.add(working_run=77)
        self.look(app)
        assert (app.state().standing, app.state().lost) == ("waiting", "plan,build,audit")

    def test_a_run_is_dispatched_bound_and_shown(self, app: App) -> None:
        app.add()
        place = f"/repos/{REPOSITORY}/actions/workflows/ostler.yml"
        app.hub.on("GET", f"{place}/runs", Reply(200, {"workflow_runs": []}))
        app.hub.on("POST", f"{place}/dispatches", Reply(200, {"workflow_run_id": 77}))
        app.worker.once()
        assert app.hub.asked("POST", "dispatches")[0].body["inputs"] == {"issue": "42", "session": SESSION}
        assert (app.state().working_run, app.office.held(SESSION).lane) == (77, "running")
        assert app.hub.issue_labels == ["ostler:planning"]

    def test_a_run_that_was_asked_for_before_a_crash_is_adopted(self, app: App) -> None:
        app.add()
        assert app.office.queue.claim(time.time()) is not None  # and then the App died, after asking GitHub
        place = f"/repos/{REPOSITORY}/actions/workflows/ostler.yml"
        others = [
            {"id": 70, "status": "completed"},
            {"id": 76, "status": "queued", "display_title": "issue-9-00000000_20261121_000000"},
        ]
        found = [*others, {"id": 77, "status": "in_progress", "display_title": "Fix it"}]
        app.hub.on("GET", f"{place}/runs", Reply(200, {"workflow_runs": found}))
        app.office.queue.release()
        app.worker.once()
        assert app.state().working_run == 77
        assert app.hub.asked("POST", "dispatches") == []

    def test_a_workflow_that_cannot_be_started_is_said(self, app: App) -> None:
        app.add()
        place = f"/repos/{REPOSITORY}/actions/workflows/ostler.yml"
        app.hub.on("GET", f"{place}/runs", Reply(404, {"message": "Not Found"}))
        app.worker.once()
        assert app.state().standing == "waiting"
        assert "ostler.yml" in app.state().outcome
