"""`/ostler model` and `/ostler skip`: what is said while a session waits counts from its next job on, with the App and alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.core.events import ClassChosen, PhaseSkipped
from bot.core.phases import Kind
from bot.core.selection import ModelClass
from tests.world.test_conversation import SETUPS
from tests.world.town import BODY, TITLE, Setup, town
from tests.world.world import framing, happy

pytestmark = pytest.mark.sampled


@pytest.mark.parametrize("setup", SETUPS)
def test_a_cheaper_class_and_fewer_phases_from_the_next_job_on(tmp_path: Path, setup: Setup) -> None:
    """Work of medium size waits for money in its first phase. Planner and builder would be of class balanced."""
    _, spec, _ = framing()
    config = "approval: never\nbudget: {money: 0.005}\n"
    with town(tmp_path, setup, rules=[spec, *happy()], config=config) as there:
        number = there.ask(TITLE, f"{BODY}. Mind the performance.")
        there.settle(600)
        before = there.story(number).state
        assert (before["waits"], before["floor"]) == ("budget", "fast")
        there.say(number, "/ostler model fast", by="tess")
        for words in ("model fast", "skip strategize", "skip Think"):
            there.say(number, f"/ostler {words}", by="bob")
        there.settle(600)
        told = there.story(number)
        assert [comment["body"].partition("\n")[2].strip() for comment in told.replies] == [
            "From the next job on, planner and builder are of class `fast`. Who judges their work stays the same.",
            "STRATEGIZE is skipped from the next job on, unless it is done by then.",
            "THINK is skipped from the next job on, unless it is done by then.",
        ]
        assert (told.state["standing"], told.state["waits"], told.state["spent"]) == ("waiting", "budget", before["spent"])
        assert (told.state["model_class"], told.state["skips"]) == ("fast", "STRATEGIZE,THINK")
        assert there.scene.vendors.journal() == []

        there.say(number, "/ostler budget +3")
        there.settle(600)
        there.expect_one(number)
        said = [record.item for record in there.records(number) if isinstance(record.item, ClassChosen | PhaseSkipped)]
        skips = [PhaseSkipped(kind, "bob") for kind in (Kind.STRATEGIZE, Kind.THINK)]
        assert said == [ClassChosen(ModelClass.FAST, "bob"), *skips]
        asked = [str(body["model"]) for body in there.scene.vendors.bodies()]
        assert {model for model in asked if model.startswith("claude")} == {"claude-haiku-5-5"}
        assert there.hub.errors == []
