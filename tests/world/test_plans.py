"""Sessions that commands begin, plans that are revised, and work that goes on after it was stopped, with the App and alone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bot.core.events import PlanRevised
from tests.world.test_conversation import SETUPS, approve, only, same
from tests.world.town import BODY, TITLE, Setup, town
from tests.world.world import a_plan, approves, happy, rule

pytestmark = pytest.mark.sampled

both = pytest.mark.parametrize("setup", SETUPS)


@both
def test_a_plan_is_asked_for_and_revised_and_only_the_new_one_can_be_approved(tmp_path: Path, setup: Setup) -> None:
    """No label, and a configuration that asks for no approval. tess may not ask, and an edited comment is no command; bob's text
    reaches the planner, and the plan's comment is edited."""
    anew = rule("# Phase PLAN: draft", "bob said to the plan:\n\nLeave negative numbers", json=a_plan(goal="sums are right"))
    with town(tmp_path, setup, rules=[anew, approves(), *happy()], config="approval: never\n") as there:
        number = there.ada.open_issue(there.name, TITLE, BODY)
        there.say(number, "/ostler plan", by="tess")
        there.settle()
        assert there.story(number).nothing
        there.say(number, "/ostler plan")
        there.settle()
        before, digest = there.story(number), there.digest(number)
        assert before.labels == ["ostler:awaiting-approval"]
        assert before.state["began"] == "plan"

        there.say(number, "/ostler revise Do it well", by="tess")
        if setup == "app":  # alone, the gate may look before the edit
            with there.app_down():
                comment = there.say(number, "/ostler revise Do it well")
                time.sleep(1.1)  # GitHub's times have no smaller unit than a second
                there.ada.edit_comment(there.name, comment, "/ostler revise Do it badly")
        there.say(number, "/ostler build")
        there.settle()
        told = there.story(number)
        assert (only(told.plan), told.branches) == (only(before.plan), before.branches)
        (said,) = (reply["body"] for reply in told.replies if "waits for approval" in reply["body"])
        same("reply-plan-waits", said)

        there.say(number, "/ostler revise Leave negative numbers\n\nas they are.", by="bob")
        there.settle()
        told = there.story(number)
        assert (told.state_labels, told.state["runs"]) == (["ostler:awaiting-approval"], 1)
        assert told.state["spent"] > before.state["spent"]
        assert (only(told.plan) != only(before.plan), told.plan[0]["id"]) == (True, before.plan[0]["id"])
        same("plan-revised", only(told.plan))

        there.say(number, f"/ostler approve {digest}")
        there.settle()
        told = there.story(number)
        assert told.pulls == []
        assert f"`/ostler approve {there.digest(number)}` approves it" in told.replies[-1]["body"]
        assert there.digest(number) != digest
        approve(there, number)
        there.settle()
        there.expect_one(number)
        (revised,) = (record.item for record in there.records(number) if isinstance(record.item, PlanRevised))
        assert (revised.by, revised.said.text) == ("bob", "Leave negative numbers\n\nas they are.")
        audited = [str(body) for body in there.scene.vendors.bodies() if "# Phase REVIEW: audit" in str(body)]
        assert all("Leave negative numbers" in body for body in audited)


@both
def test_each_command_begins_one_session(tmp_path: Path, setup: Setup) -> None:
    """An issue that is too vague to plan ends each at once. What the App could not be told of is begun when it is back."""
    with town(tmp_path, setup) as there:
        number = there.ada.open_issue(there.name, "Improve it", "")
        there.settle()
        with there.app_down():
            there.say(number, "/ostler build")
            there.hub.wait_idle(60)
        there.until(lambda: there.story(number).status)
        there.settle()
        first = there.story(number)
        assert (len(first.branches), first.state["began"], first.state["requested_by"]) == (1, "build", "ada")
        time.sleep(1.1)
        there.say(number, "/ostler plan", by="bob")
        there.settle()
        told = there.story(number)
        assert len(told.branches) == len(told.status) == 2
        assert all("too vague" in comment["body"] for comment in told.status)
        there.ada.label(there.name, number, "ostler:stop")
        there.say(number, "/ostler build")
        there.settle()
        told = there.story(number)
        assert len(told.branches) == 2
        assert "Nothing begins: the issue has the label `ostler:stop`." in told.replies[-1]["body"]
        assert there.scene.vendors.journal() == []
        assert there.hub.errors == []


@both
def test_a_session_goes_on_after_it_was_stopped(tmp_path: Path, setup: Setup) -> None:
    """With the plan that it had: no model is asked again, and the old word to stop counts no more."""
    with town(tmp_path, setup, config="approval: always\n") as there:
        number = there.ask()
        there.settle()
        before, digest, asked = there.story(number), there.digest(number), len(there.scene.vendors.journal())
        there.say(number, "/ostler stop", by="bob")
        there.settle()
        told = there.story(number)
        assert told.state["standing"] == "over"
        assert told.check["output"]["title"] == "Stopped: stopped by bob"
        if setup == "alone":  # the App shows it on the check run; no job is at work that could say it in a comment
            same("status-stopped", only(told.status))

        time.sleep(1.1)  # GitHub's times have no smaller unit than a second
        there.say(number, "/ostler resume", by="tess")
        there.say(number, "/ostler resume")
        there.settle()
        told = there.story(number)
        assert (told.state_labels, there.digest(number)) == (["ostler:awaiting-approval"], digest)
        assert (told.state["runs"], told.state["spent"]) == (1, before.state["spent"])
        assert len(there.scene.vendors.journal()) == asked
        approve(there, number)
        there.settle()
        there.expect_one(number)
