"""`/ostler ship`: what a session made before it stopped becomes a draft marked as not proved, with the App and alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.core.events import ProofRepeated, ShipRequested
from tests.world.test_conversation import SETUPS, only, same
from tests.world.town import IMPORTS, Setup, town
from tests.world.world import builds, create, drafts, happy

pytestmark = pytest.mark.sampled

STOP_LOSS = "approval: never\nbudget:\n  multiplier: 0.005\n  thresholds: {hard_cap_factor: 100}\n"


@pytest.mark.parametrize("setup", SETUPS)
def test_the_work_of_a_session_that_waits_is_had_as_a_draft_and_gone_on_with(tmp_path: Path, setup: Setup) -> None:
    """At its stop-loss a session has built and not proved. tess may not ask; then ada does, and has a fixer go on from there."""
    with town(tmp_path, setup, files=IMPORTS, config=STOP_LOSS) as there:
        number = there.ask()
        there.settle(600)
        told = there.story(number)
        assert told.state["waits"] == "overrun"
        there.say(number, "/ostler ship", by="tess")
        there.settle(600)
        assert there.story(number).pulls == []
        asked = len(there.scene.vendors.journal())

        if setup == "app":
            assert there.buttons(number) == ["budget", "ship", "stop"]
            there.press(number, "ship")
        else:
            there.say(number, "/ostler ship")
        there.settle(600)
        told = there.story(number)
        (pull,) = told.pulls
        assert (pull["draft"], pull["title"]) == (True, "fix: add() returns the difference (not proved)")
        same("ship-pull", f"# {pull['title']}\n\n{pull['body']}")
        same("ship-status", only(told.status))
        assert (told.audit, told.replies) == ([], [])
        assert told.state_labels == ["ostler:needs-human"]
        assert (told.check["head_sha"], told.check["conclusion"]) == (pull["head"]["sha"], "neutral")
        assert told.check["output"]["title"].startswith(f"Draft #{pull['number']}, not proved")
        made = there.ada.get(f"/repos/{there.name}/git/commits/{pull['head']['sha']}")
        assert "\n\nNot proved and not audited to the end: shipped as a draft by ada.\n\n" in made["message"]
        records = [record.item for record in there.records(number)]
        assert [item for item in records if isinstance(item, ShipRequested | ProofRepeated)] == [ShipRequested("ada")]
        assert len(there.scene.vendors.journal()) == asked

        there.say(number, "/ostler ship")
        there.say(number, "/ostler retry")
        there.settle(600)
        shipped, retried = (comment["body"].partition("\n")[2].strip() for comment in there.story(number).replies)
        assert shipped == f"It is delivered: see pull request `#{pull['number']}`."
        assert retried == f"It was shipped: say on `#{pull['number']}` what it lacks, with `/ostler fix TEXT`."

        there.say(pull["number"], "/ostler fix Remove unused imports")
        there.settle(600)
        told = there.story(number)
        assert told.state["run_state"] == "DONE_SUCCESS"
        assert told.state_labels == ["ostler:in-review"]
        assert len(told.audit) == 1
        assert there.hub.errors == []


@pytest.mark.parametrize("setup", SETUPS)
def test_what_may_not_land_is_not_shipped(tmp_path: Path, setup: Setup) -> None:
    rules = [drafts(), *builds([create("migrations/1.py", "x = 1\n")], "Done."), *happy()]
    with town(tmp_path, setup, rules=rules, config="approval: never\npaths: {deny: ['migrations/*']}\n") as there:
        number = there.ask()
        there.settle(600)
        assert there.story(number).state["run_state"] == "DONE_FAILED_POLICY_VIOLATION"
        there.say(number, "/ostler ship")
        there.settle(600)
        told = there.story(number)
        assert "There is nothing to ship: the change was refused" in only(told.replies)
        assert (told.pulls, told.state["shipped_by"]) == ([], "")
        assert there.hub.errors == []
