"""What the App hears of, over real webhooks, and what it finds by itself where it hears nothing: workflow runs that are lost or
cancelled, installations that come and go, labels, reviews, checks and buttons."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.github.manifest import PERMISSIONS
from tests.world.test_conversation import SETUPS, expect_stopped
from tests.world.test_dashboard import begin, shows, text, tick
from tests.world.test_following import SUGGESTION, at, ci, delivered
from tests.world.test_kill_jobs import PLAIN
from tests.world.test_queue import APP, ONE, asked, listed, planned_once
from tests.world.test_shared_caps import SWEEPS
from tests.world.test_who_may_ask import VAGUE, expect_refused_once, sessions
from tests.world.town import FIXER_BODY, FIXER_TITLE, Setup, Town, town
from tests.world.trouble import Death, tended

pytestmark = pytest.mark.sampled

NEVER_LOOKS = {"OSTLER_POLL_SECONDS": "600"}
"""An App that looks at workflow runs when it is told of them, and only then."""
PAUSE = "Pause: start nothing new here"
SILENCE = "The workflow run ended without telling what became of it: look at it, then comment `/ostler retry`."


def conclusions(there: Town) -> list[str]:
    """How the workflow runs ended, oldest first."""
    return [run["conclusion"] for run in reversed(there.runs())]


# --- workflow runs ----------------------------------------------------------------------------------------------------


def test_a_workflow_run_that_ends_in_silence_is_run_again_once_then_a_person_is_asked(tmp_path: Path) -> None:
    """The machine of its last job is lost, twice. Its end is told by an event; what is said of it is said once."""
    lost = Death("conclude"), Death("conclude")
    with town(tmp_path, "app", PLAIN, app_env=NEVER_LOOKS) as there, tended(there, *lost) as nurse:
        number = there.ask(VAGUE, "")
        there.settle()
        assert nurse.deaths == []
        told = there.story(number)
        assert [run["run_attempt"] for run in there.runs()] == [2]
        assert [body["body"].rpartition("-->\n")[2].strip() for body in told.trouble] == [SILENCE]
        assert (told.state["standing"], told.check["conclusion"]) == ("waiting", "action_required")
        assert told.state_labels == ["ostler:needs-human"]
        assert there.buttons(number) == ["retry", "stop"]

        there.say(number, "/ostler retry")
        there.settle()
        expect_refused_once(there, number)
        assert (len(there.story(number).trouble), conclusions(there)) == (1, ["failure", "success"])


@pytest.mark.parametrize("how", ["lost", "cancelled"])
def test_a_workflow_run_that_ends_before_anything_began_is_begun_anew(tmp_path: Path, how: str) -> None:
    """A cancelled one as well: who means the session stops the session."""
    lost = (Death("gate"),) if how == "lost" else ()
    with town(tmp_path, "app", PLAIN) as there, tended(there, *lost) as nurse:
        number = there.ask(VAGUE, "")
        if how == "cancelled":
            there.until(there.runs)
            there.ada.cancel(there.name, there.runs()[0]["id"])
        there.settle()
        assert nurse.deaths == []
        expect_refused_once(there, number)
        assert conclusions(there) == ["failure" if how == "lost" else "cancelled", "success"]
        assert there.story(number).trouble == []
        assert there.hub.errors == []


# --- where the App is installed ---------------------------------------------------------------------------------------


def paused(there: Town) -> int:
    """The dashboard of a repository in which nothing starts."""
    board = begin(there)
    shows(there, board, PAUSE)
    tick(there, board, PAUSE)
    shows(there, board, "**Paused** by `ada`")
    return board


def statuses(there: Town) -> list[str]:
    return [each["status"] for each in asked(there, "/api/queue/stats")["sessions"]]


def test_what_waits_where_the_app_is_not_any_more_goes_on_when_it_is_back(tmp_path: Path) -> None:
    with town(tmp_path, "app", PLAIN, app_env=APP) as there:
        hub, credentials = there.hub, there.scene.credentials
        assert credentials is not None
        board, number = paused(there), there.ask(VAGUE, "")

        def again() -> None:
            hub.install(credentials, there.name, PERMISSIONS)

        backs: dict[Any, Callable[[], None]] = {
            "removed": again,
            "suspend": lambda: hub.change_installation(credentials, there.name, "unsuspend"),
            "deleted": again,
        }
        for gone, back in backs.items():
            there.until(lambda: statuses(there) == ["queued"] and there.story(number).state_labels)
            hub.wait_idle(60)
            hub.change_installation(credentials, there.name, gone)
            there.until(lambda: statuses(there) == ["away"])
            back()
        there.until(lambda: statuses(there) == ["queued"])
        assert there.runs() == []
        tick(there, board, "**Paused** by `ada`")
        there.until(there.runs)
        there.settle()
        expect_refused_once(there, number)
        assert sessions(there) == [number]
        shows(there, board, "## Ended lately")


# --- labels -----------------------------------------------------------------------------------------------------------


def test_what_no_webhook_told_of_is_found(tmp_path: Path) -> None:
    with town(tmp_path, "app", PLAIN, app_env=SWEEPS) as there:
        there.settle()
        assert there.scene.credentials is not None
        there.hub.state.apps[there.scene.credentials.app_id].webhook_url = None
        number = there.ask(VAGUE, "")
        there.until(lambda: there.story(number).status)
        there.settle()
        expect_refused_once(there, number)
        assert sessions(there) == [number]


def test_a_session_that_only_github_knows_is_found_when_somebody_asks_for_it(tmp_path: Path) -> None:
    with town(tmp_path, "app", PLAIN) as there:
        number = there.ask(VAGUE, "")
        there.settle()
        there.ada.unlabel(there.name, number, "ostler")
        there.settle()
        with there.app_down():
            there.scene.database.unlink()
        there.settle()
        assert sessions(there) == []
        there.say(number, "/ostler status", by="zoe")
        there.settle()
        (said,) = there.story(number).replies
        assert "Stopped" in said["body"]
        assert sessions(there) == [number]


def test_the_dashboard_shows_what_was_put_first_and_its_pause_ends_with_its_label(tmp_path: Path) -> None:
    with town(tmp_path, "app", PLAIN, app_env=APP) as there:
        board = paused(there)
        first, second = there.ask(VAGUE, ""), there.ask(VAGUE, "")
        shows(there, board, f"Run next: [#{first}]", f"Run next: [#{second}]")
        waiting = {each["issue"]: each["session"] for each in listed(there)}
        assert asked(there, f"/api/queue/{waiting[second]}/position", b'{"position": 1}')["position"] == 1
        there.until(lambda: text(there, board).index(f"[#{second}]") < text(there, board).index(f"[#{first}]"))
        assert there.runs() == []
        there.ada.unlabel(there.name, board, "ostler:dashboard")
        there.until(there.runs)
        there.settle()
        for number in (first, second):
            expect_refused_once(there, number)
        assert [int(run.inputs["issue"]) for _, run in sorted(there.hub.found(there.name).runs.items())] == [second, first]


# --- how people end it ------------------------------------------------------------------------------------------------


def stops(there: Town, number: int, by: str) -> None:
    if by == "label":
        there.person("tess").label(there.name, number, "ostler:stop")  # who may not ask may stop
    elif by == "button":
        there.press(number, "stop", by="bob")
    else:
        there.say(number, "/ostler stop", by="bob")


@pytest.mark.parametrize(
    ("stage", "by"), [("plan", "label"), ("wait", "label"), ("wait", "button"), ("build", "label"), ("build", "command")]
)
def test_a_session_is_stopped_wherever_it_is(tmp_path: Path, stage: str, by: str) -> None:
    with town(tmp_path, "app", PLAIN, config=ONE) as there:
        number = there.ask(FIXER_TITLE, FIXER_BODY)
        if stage == "plan":
            there.until(there.runs)
        else:
            there.settle()
            planned_once(there, number)
        if stage == "build":
            there.say(number, f"/ostler approve {there.digest(number)}")
            there.until(lambda: len(there.runs()) == 2)
        stops(there, number, by)
        there.settle()
        expect_stopped(there, number)
        who = "tess, with the label ostler:stop" if by == "label" else "bob"
        assert there.story(number).state["outcome"] == f"stopped by {who}"


@pytest.mark.parametrize("setup", SETUPS)
def test_what_was_stopped_is_delivered_when_somebody_has_it_go_on(tmp_path: Path, setup: Setup) -> None:
    """Without an App nobody hears of a label: the next workflow run does, before it builds what was approved meanwhile."""
    with town(tmp_path, setup, PLAIN, config=ONE) as there:
        number = there.ask(FIXER_TITLE, FIXER_BODY)
        there.settle()
        if setup == "app":
            there.say(number, "/ostler stop")
        else:
            there.person("tess").label(there.name, number, "ostler:stop")
            there.say(number, f"/ostler approve {there.digest(number)}")
        there.settle()
        expect_stopped(there, number)
        assert "build" not in {name for run in there.runs() for name, how in there.jobs(run["id"]).items() if how == "success"}
        if setup == "app":
            there.press(number, "retry")
        else:
            there.ada.unlabel(there.name, number, "ostler:stop")
            there.say(number, "/ostler stop")
            there.settle()
            there.say(number, "/ostler retry")
        there.settle()
        assert there.story(number).state_labels == ["ostler:awaiting-approval"]
        there.say(number, f"/ostler approve {there.digest(number)}")
        there.settle()
        told = there.story(number)
        assert (len(told.pulls), told.state_labels) == (1, ["ostler:in-review"])
        assert there.hub.errors == []


# --- on the pull request ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["review", "check", "button"])
def test_what_is_said_of_the_pull_request_has_the_session_go_on(tmp_path: Path, how: str) -> None:
    """A review, a check that failed, or the button where checks are not to be mended unasked. What follows is another test's."""
    with town(tmp_path, "app", PLAIN, config=f"fix_checks: {0 if how == 'button' else 1}\n") as there:
        number, pull = delivered(there)
        if how == "review":
            there.ada.suggest(there.name, pull["number"], [{"path": "calc.py", "line": at(there, pull, "X"), "body": SUGGESTION}])
        else:
            ci(there)(pull["head"]["sha"], "failure")
        if how == "button":
            there.settle()
            assert there.story(number).state["follow"] == ""
            assert there.buttons(number) == ["fix-ci"]
            there.press(number, "fix-ci")
        cause = "review" if how == "review" else "checks"
        there.until(lambda: f" {cause}-" in there.story(number).state["follow"])
        there.say(pull["number"], "/ostler stop")
        there.settle()
        assert there.story(number).state["standing"] == "over"
        assert there.hub.errors == []
