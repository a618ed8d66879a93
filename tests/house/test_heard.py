"""Whatever Ostler hears of, from people and from GitHub, has a row in `test_unplugged.py`: a conversation that fails without it.

A command, button, label, tick, event or way to be asked that is added belongs in the table here, and its row there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import get_args

from bot.config.repository import RepoConfig
from bot.core import settling
from bot.core.board import BOARD_LABEL, Act
from bot.core.session import LABEL, STOP_LABEL
from bot.core.triggers import PERSONS_VERBS
from bot.github.webhook import HEARD
from tests.house.test_unplugged import FEATURES

SHOWN_BY: Mapping[str, str] = {
    "/ostler approve": "the command approve",
    "/ostler retry": "the command retry",
    "/ostler budget": "a writer raises the cap of a session",
    "/ostler ship": "what a session made can be had as a draft",
    "/ostler model": "a person chooses the class of the models to come",
    "/ostler skip": "what is done without ends at its gate",
    "/ostler session": "a session is shown by its name",
    "/ostler compare": "sessions are compared by what they cost",
    "/ostler archive": "an issue has a session no more that is archived",
    "/ostler fix": "the command fix",
    "/ostler fix-ci": "the command fix-ci",
    "/ostler rollback": "the command rollback",
    "/ostler stop": "the command stop",
    "/ostler status": "the command status",
    "/ostler help": "the command help",
    "button approve": "the button that approves",
    "button stop": "the button Stop",
    "button retry": "the button Retry",
    "button budget": "the button Add $2",
    "button ship": "the button Ship as draft",
    "button fix-ci": "the button Fix CI",
    "tick approve": "a tick on the dashboard does what a command does",
    "tick budget": "a tick gives more money",
    "tick retry": "a tick tries again",
    "tick next": "a tick on the dashboard puts a session first",
    "tick pause": "nothing starts in a repository that is paused",
    "label ostler": "the App hears of a label",
    "label ostler:stop": "the App hears of the stop label",
    "label ostler:dashboard": "the App hears of the label of dashboards",
    "label of a state": "an issue has one label that says how its session stands",
    "label of a priority": "labels say what is urgent",
    "approval: high-risk": "high risk asks for approval",
    "approval: always": "approval: always asks for a fixer's work too",
    "approval: never": "approval: never asks nobody",
    "issues labeled": "the App hears of a label",
    "issues unlabeled": "a dashboard ends with its label, and its pause with it",
    "issues edited": "a tick on the dashboard does what a command does",
    "issue_comment created": "the App hears of a comment",
    "check_run requested_action": "the App hears of a button",
    "check_run completed": "the App hears of a check that failed",
    "pull_request_review submitted": "the App hears of a review",
    "workflow_run completed": "the App hears of the end of a workflow run",
    "installation created": "the App looks around where it is installed",
    "installation deleted": "sessions wait where the App is not any more",
    "installation suspend": "sessions wait where the App is not any more",
    "installation unsuspend": "the App looks around where it is installed",
    "installation_repositories added": "sessions go on where the App is back",
    "installation_repositories removed": "sessions wait where the App is not any more",
}  # fmt: skip
"""What is heard, and the feature that is gone without it."""


def heard() -> Iterator[str]:
    yield from (f"/ostler {verb}" for verb in PERSONS_VERBS)
    yield from (f"button {one.identifier}" for one in vars(settling).values() if isinstance(one, settling.Button))
    yield from (f"tick {act}" for act in get_args(Act))
    yield from (f"label {label}" for label in (LABEL, STOP_LABEL, BOARD_LABEL))
    yield from ("button approve", "label of a state", "label of a priority")  # of which there are many
    yield from (f"approval: {rule}" for rule in get_args(RepoConfig.model_fields["approval"].annotation))
    yield from (f"{event} {action}" for event, (_, actions) in HEARD.items() for action in actions)


def test_whatever_is_heard_is_shown_to_matter() -> None:
    assert set(heard()) == SHOWN_BY.keys()


def test_what_shows_it_is_there() -> None:
    assert set(SHOWN_BY.values()) - {feature.name for feature in FEATURES} == set()
