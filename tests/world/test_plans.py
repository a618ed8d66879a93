"""Plans as people have them made: another one for a text that they say to it, with the App and alone."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bot.core.events import PlanRevised
from tests.world.test_conversation import SETUPS, approve, only, same
from tests.world.town import Setup, town
from tests.world.world import a_plan, approves, happy, rule

both = pytest.mark.parametrize("setup", SETUPS)


@both
def test_a_plan_is_revised_and_only_the_new_one_can_be_approved(tmp_path: Path, setup: Setup) -> None:
    """tess may not ask, and an edited comment is no command; bob's text reaches the planner, its comment is edited."""
    anew = rule("# Phase PLAN: draft", "bob said to the plan:\n\nLeave negative numbers", json=a_plan(goal="sums are right"))
    with town(tmp_path, setup, rules=[anew, approves(), *happy()], config="approval: always\n") as there:
        number = there.ask()
        there.settle()
        before, digest = there.story(number), there.digest(number)
        there.say(number, "/ostler revise Do it well", by="tess")
        if setup == "app":  # alone, the gate may look before the edit
            with there.app_down():
                comment = there.say(number, "/ostler revise Do it well")
                time.sleep(1.1)  # GitHub's times have no smaller unit than a second
                there.ada.edit_comment(there.name, comment, "/ostler revise Do it badly")
        there.say(number, "/ostler revise")
        there.settle()
        told = there.story(number)
        assert only(told.plan) == only(before.plan)
        assert any("Say what is to be different: `/ostler revise TEXT`." in reply["body"] for reply in told.replies)

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
        told = there.expect_one(number)
        (revised,) = (record.item for record in there.records(number) if isinstance(record.item, PlanRevised))
        assert (revised.by, revised.said.text) == ("bob", "Leave negative numbers\n\nas they are.")
        asked = [str(body) for body in there.scene.vendors.bodies() if "# Phase REVIEW: audit" in str(body)]
        assert all("Leave negative numbers" in body for body in asked)
