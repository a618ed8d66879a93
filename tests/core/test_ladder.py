"""The ladder inside a run: which attempt follows on which failure, on which files, and what counts as one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bot.core.conversation import Text, ToolUse
from bot.core.conversation import ToolResult as Result
from bot.core.effects import Effect, PriceCall, RunFixers, RunProof, SendCall, TakeChangeset, UseTools
from bot.core.events import ChangesetTaken, FixersRan, ProofRan, ToolsUsed
from bot.core.ladder import SIMPLIFY_AFTER, brief, tried
from bot.core.machines import PhaseState, RunState
from bot.core.phases import Kind
from bot.core.record import outcomes
from bot.core.reports import Check, FileChange, FixerReport
from bot.core.reports import TestCase as Case
from bot.core.reports import TestReport as Report
from bot.core.run import Run
from bot.core.step import step
from bot.core.strategy import Settings
from bot.core.validation import Proof
from tests.core.play import BASE_TREE, FLAT, MODELS, Rooms, change, changeset, checks, request, suite

At = tuple[Run, Effect]
LINT = Check("lint", "fail", "src/a.py:1: F401 `os` imported but unused\nsrc/a.py:2: I001 Import block is un-sorted")
TESTS = [f"tests/test_a.py::test_{number}" for number in range(3)]
GREEN = suite(dict.fromkeys(TESTS, "passed"))


def begun() -> At:
    run, effects = step(None, request(settings=Settings(50_000_000, 50_000_000, MODELS, approval="never", max_turns=8)))
    return run, effects[0]


def on(at: At, *, until: type[Effect], text: bytes = b"A = 2\n") -> At:
    """Let everything go well up to the next effect of a kind; builds leave `text`."""
    run, effect = at
    rooms = Rooms(5, 1.0, rates=(FLAT,))
    while not isinstance(effect, until):
        event = rooms.perform(run, effect)
        if isinstance(effect, SendCall) and run.phase.kind is Kind.IMPLEMENT:
            event = rooms.billed(run, effect, (ToolUse("u1", "bash", "{}"),) if run.phase.turns < 1 else (Text("All done."),))
        if isinstance(effect, UseTools):
            event = ToolsUsed(effect.call, f"tree-{run.phase.id}", (Result("u1", "ok"),), (), 0.1)
        if isinstance(effect, TakeChangeset):
            files: tuple[FileChange, ...] = (change(after=text),)
            event = ChangesetTaken(changeset(*files, tree=effect.tree))
        run, effects = step(run, event)
        effect = effects[0]
    return run, effect


def proved(at: At, *failed: Check, tests: Report = GREEN) -> At:
    run, effect = at
    assert isinstance(effect, RunProof)
    before = suite({TESTS[0]: "failed"})
    run, effects = step(run, ProofRan(Proof(checks(tests, effect.tree, *failed), None, before)))
    return run, effects[0] if effects else effect


def failing(words: str) -> Report:
    return replace(GREEN, outcome="fail", cases=(Case(TESTS[0], "failed", words, words), *GREEN.cases[1:]))


def attempted(at: At, words: str, text: bytes) -> At:
    """One model's attempt that leaves `text` and fails with `words`."""
    return proved(on(at, until=RunProof, text=text), tests=failing(words))


def linted() -> At:
    return proved(on(begun(), until=RunProof), LINT)


def test_tools_mend_lint_before_any_model_and_it_is_no_attempt() -> None:
    run, effect = linted()
    assert isinstance(effect, RunFixers)
    assert [(call.name, call.args) for call in effect.calls] == [("lint", ("src/a.py",))]
    run, effects = step(run, FixersRan("tree-mended", (FixerReport("lint", ("ruff",), 2, 0, ("src/a.py",), ""),)))
    assert isinstance(effects[0], TakeChangeset)
    run, effect = on((run, effects[0]), until=RunProof)
    assert (run.attempt, [row.rung for row in tried(run)]) == (1, ["first", "mechanical"])
    after, _ = proved((run, effect))
    assert [one.ok for one in outcomes(after)] == [True], "the model's work held but for its layout"


def test_what_the_tools_leave_goes_to_a_model_with_the_same_brief() -> None:
    run, _ = linted()
    run, effects = step(run, FixersRan(run.tree, (FixerReport("lint", ("ruff",), 2, 2, (), ""),)))
    assert isinstance(effects[0], PriceCall)
    assert run.phase.kind is Kind.IMPLEMENT
    assert "F401" in run.phase.brief[0]
    assert [phase.state for phase in run.phases if phase.fixers] == [PhaseState.FAILED]
    assert run.attempt == 2


def test_tools_get_one_try_between_two_attempts_of_models() -> None:
    run, effect = linted()
    mended = FixersRan("tree-mended", (FixerReport("lint", ("ruff",), 2, 1, ("src/a.py",), ""),))
    run, effects = step(run, mended)
    other = replace(LINT, detail="src/a.py:1: F401 `os` imported but unused")
    run, effect = proved(on((run, effects[0]), until=RunProof), other)
    assert isinstance(effect, PriceCall)


@pytest.mark.parametrize(
    "failed",
    [
        (LINT, Check("types", "fail", "src/a.py:1: bad [assignment]")),
        (replace(LINT, name="format"),),
        (replace(LINT, detail="elsewhere.py:1: F401 `os` imported but unused"),),
        (replace(LINT, detail="src/a.py:1: F821 Undefined name `x`"),),
    ],
    ids=["more is wrong", "no tool mends it", "another file", "no rule of layout"],
)
def test_what_tools_cannot_mend_is_not_theirs(failed: tuple[Check, ...]) -> None:
    _, effect = proved(on(begun(), until=RunProof), *failed)
    assert isinstance(effect, PriceCall)


def test_the_rungs_up_to_a_person() -> None:
    at = begun()
    for number, words in enumerate(("KeyError: 1", "ValueError: b", "AttributeError: c", "TypeError: d")):
        at = attempted(at, words, f"A = {number + 2}\nB = {number}\n".encode())
    run, _ = at
    assert [row.rung for row in tried(run)] == ["first", "other family", "stronger class", "simplify"]
    assert [row.mends for row in tried(run)] == ["", "key", "value", "attribute"]
    assert run.state is RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW
    assert run.outcome.startswith("4 of 4 attempts used")


def test_the_smallest_change_begins_with_the_base() -> None:
    at = begun()
    for number, words in enumerate(("KeyError: 1", "ValueError: b", "AttributeError: c")[:SIMPLIFY_AFTER]):
        at = attempted(at, words, f"A = {number + 2}\nB = {number}\n".encode())
    run, _ = at
    assert (run.tree, run.changeset and run.changeset.files) == (BASE_TREE, ())
    told = brief(run)
    assert told is not None
    assert (told.rung, len(told.tried)) == ("simplify", SIMPLIFY_AFTER)
    assert "those of the base" in told.note


def test_a_worse_attempt_is_undone_and_its_brief_is_the_better_ones() -> None:
    at = attempted(begun(), "KeyError: 1", b"A = 2\n")
    better = at[0].tree
    run, effect = on(at, until=RunProof, text=b"A = 3\nB = 4\n")
    two = replace(GREEN, outcome="fail", cases=tuple(Case(name, "failed", "", "ValueError: 1") for name in TESTS))
    run, _ = proved((run, effect), tests=two)
    assert run.tree == better
    assert "KeyError" in run.phase.brief[0]
    assert "back as an earlier attempt left them" in run.phase.reason


def test_edits_that_never_fitted_are_no_failures_of_the_models_but_end_where_nothing_moves() -> None:
    at = begun()
    for words in ("no such text", "two such texts"):
        at = _refused(at, words)
        assert (at[0].attempt, at[0].phase.rung) == (1, "reflection")
        assert at[0].phase.choice is not None
        assert at[0].phase.choice.model.model == "claude-haiku", "nobody else is asked"
    run, _ = _refused(at, "no text at all")
    assert run.outcome.startswith("converged: ")
    assert [row.result for row in tried(run)] == ["failed: edit_format, which does not count"] * 2 + ["failed: edit_format"]


def _refused(at: At, words: str) -> At:
    run, effect = on(_up_to_build(at), until=SendCall)
    assert isinstance(effect, SendCall)
    rooms = Rooms(5, 1.0, rates=(FLAT,))
    rooms.priced = replace(rooms.priced, call=effect.call)
    use = ToolUse("u1", "apply_patch", "{}")
    run, effects = step(run, rooms.billed(run, effect, (use,), "tool_use"))
    assert isinstance(effects[0], UseTools)
    run, effects = step(run, ToolsUsed(effects[0].call, run.tree, (Result("u1", words, is_error=True),), (), 0.1))
    run, effect = on((run, effects[0]), until=TakeChangeset)
    assert isinstance(effect, TakeChangeset)
    run, effects = step(run, ChangesetTaken(changeset(tree=effect.tree)))
    return run, effects[0] if effects else effect


def _up_to_build(at: At) -> At:
    run, effect = at
    rooms = Rooms(5, 1.0, rates=(FLAT,))
    while not (isinstance(effect, PriceCall) and run.phase.kind is Kind.IMPLEMENT):
        run, effects = step(run, rooms.perform(run, effect))
        effect = effects[0]
    return run, effect


@pytest.mark.parametrize(
    ("check", "state", "words"),
    [
        ("sh: 1: ruff: not found", RunState.DONE_FAILED_ENVIRONMENT, "no change to the code mends"),
        ("no required module provides package b", RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, "may it be added?"),
    ],
)
def test_what_no_attempt_mends_gets_none(check: str, state: RunState, words: str) -> None:
    run, _ = proved(on(begun(), until=RunProof), Check("lint", "fail", check))
    assert (run.state, words in run.outcome, run.attempt) == (state, True, 1)
