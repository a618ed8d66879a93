"""How a repository wants to be asked: `approval: high-risk` (where nothing is said), `always` and `never`, on GitHub."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.world.test_approval import RISKY
from tests.world.test_kill_jobs import PLAIN
from tests.world.test_queue import ONE, planned_once
from tests.world.town import FIXER_BODY, FIXER_TITLE, TITLE, Setup, town
from tests.world.world import approves, drafts, framing

pytestmark = pytest.mark.sampled

MONEY = "budget: {money: 3}\n"


@pytest.mark.parametrize(("setup", "config"), [("app", MONEY), ("alone", MONEY), ("app", f"{MONEY}approval: never\n")],
                         ids=["app", "alone", "never"])  # fmt: skip
def test_risky_work_waits_for_a_person_unless_nobody_is_ever_to_be_asked(tmp_path: Path, setup: Setup, config: str) -> None:
    with town(tmp_path, setup, rules=[*framing(), drafts(), approves()], config=config) as there:
        number, never = there.ask(TITLE, RISKY), "never" in config
        there.until(lambda: there.story(number).plan)
        if never:
            there.say(number, "/ostler stop")  # what it goes on to build is another test's
        there.settle()
        told = there.story(number)
        (plan,) = told.plan
        assert ("the repository's configuration asks for none" in plan["body"]) is never
        assert ("risk needs a person's approval" in plan["body"]) is not never
        assert told.state_labels == ["ostler:needs-human" if never else "ostler:awaiting-approval"]
        assert told.pulls == []


def test_where_everything_is_to_be_approved_a_fixers_work_is_too(tmp_path: Path) -> None:
    with town(tmp_path, "app", PLAIN, config=ONE) as there:
        number = there.ask(FIXER_TITLE, FIXER_BODY)
        there.settle()
        planned_once(there, number)
