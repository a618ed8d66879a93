"""A base that moved, inside a run: what git put there is proved again, and what is a person's ends it with the change kept."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.core.conversation import Text, ToolUse
from bot.core.effects import Deliver, Effect, RunBaseline, SendCall, TakeChangeset, UseTools
from bot.core.events import BaseMoved, ChangesetTaken
from bot.core.machines import RunState
from bot.core.moving import MOST_CONFLICTS, MOST_MOVES
from bot.core.phases import Kind
from bot.core.policy import marked
from bot.core.reports import Conflict
from bot.core.run import Run
from bot.core.step import step
from bot.core.strategy import Settings
from tests.core.play import BASE, FLAT, MODELS, Rooms, change, changeset, request

MOVED = BaseMoved("d" * 40, "tree-of-another-base", "tree-put-there")
CONFLICT = Conflict("src/a.py", "A = 1\n", "A = 2\n", "A = 3\n")
At = tuple[Run, Effect]


def on(at: At, *, until: type[Effect], text: bytes = b"A = 2\n") -> At:
    """Let everything go well up to the next effect of a kind; builds leave `text`."""
    run, effect = at
    rooms = Rooms(5, 1.0, rates=(FLAT,))
    while not isinstance(effect, until):
        event = rooms.perform(run, effect)
        if isinstance(effect, SendCall) and run.phase.kind is Kind.IMPLEMENT:
            event = rooms.billed(run, effect, (ToolUse("u1", "bash", "{}"),) if run.phase.turns < 1 else (Text("All done."),))
        if isinstance(effect, TakeChangeset):
            files = (change(after=text),)
            event = ChangesetTaken(replace(changeset(*files, tree=effect.tree), base_sha=run.base_sha))
        run, effects = step(run, event)
        effect = effects[0]
    return run, effect


def delivering() -> At:
    settings = Settings(50_000_000, 50_000_000, MODELS, approval="never", planted=0)
    run, effects = step(None, replace(request(settings=settings), base_branch="main"))
    return on((run, effects[0]), until=Deliver)


def test_git_alone_costs_no_attempt_and_no_audit_and_is_proved_on_the_new_base() -> None:
    run, due = delivering()
    before, opinions = (run.attempt, run.ledger.calls), run.documents.opinions
    run, effects = step(run, MOVED)
    assert effects == (TakeChangeset(MOVED.tree),)
    run, effect = on((run, effects[0]), until=RunBaseline)
    assert effect == RunBaseline(MOVED.base_tree)
    run, effect = on((run, effect), until=Deliver)
    assert ((run.attempt, run.ledger.calls), run.documents.opinions) == (before, opinions)
    assert run.proof is not None
    assert isinstance(due, Deliver)
    assert (run.proof.head.tree, effect) == (MOVED.tree, replace(due, tree=MOVED.tree)), "the message names the approved plan"


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (replace(MOVED, unmergeable=("logo.png",)), "where logo.png cannot be merged with the change"),
        (
            replace(MOVED, conflicts=tuple(replace(CONFLICT, path=f"{n}.py") for n in range(MOST_CONFLICTS + 1))),
            "both changed the same lines of 0.py, 1.py, 2.py, 3.py, 4.py and 1 more",
        ),
    ],
    ids=["unmergeable", "many conflicts"],
)
def test_what_is_a_persons_ends_the_run_with_the_change_as_it_was_proved(event: BaseMoved, why: str) -> None:
    run, _ = delivering()
    after, effects = step(run, event)
    assert (after.state, effects) == (RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, ())
    assert why in after.outcome
    assert (after.changeset, after.tree, after.base_sha) == (run.changeset, run.tree, BASE)


def test_a_base_that_never_rests_is_not_followed_for_ever() -> None:
    at = delivering()
    for number in range(MOST_MOVES):
        run, effects = step(at[0], replace(MOVED, base_sha=str(number) * 40, base_tree=f"base-{number}", tree=f"tree-{number}"))
        at = on((run, effects[0]), until=Deliver)
    run, _ = step(at[0], MOVED)
    assert run.state is RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW
    assert "for the 4th time while the change was proved" in run.outcome
    assert run.changeset == at[0].changeset


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (b"<<<<<<< 1\nA = 2\n=======\nA = 3\n>>>>>>> 2\n", True),
        (b"A = 2\r\n=======\r\nA = 3\r\n", True),
        (b"A = 2\n>>>>>>> 2\n", True),
        (b"Title\n=======\n", False),
        (b"A = 2 << 7\n========\n", False),
    ],
    ids=["all", "the middle, with carriage returns", "the end", "what the change had before", "what only looks like it"],
)
def test_a_marker_that_a_model_leaves_is_seen(text: bytes, left: bool) -> None:
    ours = changeset(change(after=b"A = 2\nTitle\n=======\n"))
    assert bool(marked(changeset(change(after=text)), ours)) is left


def test_the_model_that_made_the_change_resolves_it_and_that_is_no_attempt_but_is_audited() -> None:
    run, _ = delivering()
    made, attempts = next(phase.choice for phase in run.phases if phase.choice and phase.kind is Kind.IMPLEMENT), run.attempt
    run, effects = step(run, replace(MOVED, conflicts=(CONFLICT,)))
    assert run.phase.choice == made
    run, effect = on((run, effects[0]), until=UseTools)
    run, _ = on((run, effect), until=Deliver)
    assert run.attempt == attempts
    audits = [phase for phase in run.phases if phase.kind is Kind.REVIEW and phase.turns]
    assert len(audits) == 2


def test_a_conflict_that_is_left_gives_back_the_change_as_it_was_proved() -> None:
    before, _ = delivering()
    run, effects = step(before, replace(MOVED, conflicts=(CONFLICT,)))
    run, _ = on((run, effects[0]), until=TakeChangeset)
    marks = change(after=b"<<<<<<< 1\nA = 2\n=======\nA = 3\n>>>>>>> 2\n")
    run, effects = step(run, ChangesetTaken(replace(changeset(marks, tree=run.tree), base_sha=run.base_sha)))
    assert (run.state, effects) == (RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, ())
    assert (run.changeset, run.tree, run.base_sha, run.base_tree) == (before.changeset, before.tree, BASE, before.base_tree)
    assert run.baseline == before.baseline
