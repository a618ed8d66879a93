"""The ladder: what is tried after an attempt did not pass, from the cheapest to a person.

A tool that mends layout and lint comes first and costs no call; then a model is asked again, told what was tried, how it
failed, and to say why; then another vendor's, then a stronger class, as `bot.core.builders` weighs them; then the smallest
change that would do, begun anew; then a person. Attempts that get nowhere end it earlier.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from bot.core.changeset import Changeset
from bot.core.conversation import ToolResult, ToolUse
from bot.core.diagnosis import Diagnosis, Evidence, blamed, diagnose, of_proof, order, places
from bot.core.effects import RepeatProof
from bot.core.error_classes import CLASSES, ErrorName, patterns
from bot.core.errors import BugError
from bot.core.machines import PhaseState, RunState
from bot.core.phases import Kind
from bot.core.reports import FixerCall
from bot.core.run import Phase, Run
from bot.core.selection import Choice, ModelClass, ModelId
from bot.core.setback import Setback, best, fingerprint, stuck, worse

Rung = Literal["first", "mechanical", "reflection", "other family", "stronger class", "simplify", "rebase", "conflict"]
SIMPLIFY_AFTER = 3
"""Failures in a row after which the next attempt begins anew, with the smallest change that would do."""
EXCUSED: frozenset[ErrorName] = frozenset(("edit_format", "timeout"))
MOST_EXCUSED = 2
"""No failures of the model's, and how many of them a run bears before they count all the same."""
PROBLEMS, PROBLEM = 5, 500


@dataclass(frozen=True, slots=True)
class Halt:
    """No further attempt: the state to end in, and why."""

    state: RunState
    why: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """Another attempt: by the tools of `fixers`, or by a model where there are none. It begins with `changeset`, which has these
    `problems`; `why` says so where that is not what the last one left."""

    fixers: tuple[FixerCall, ...]
    changeset: Changeset
    problems: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Tried:
    """One attempt as tables show it. `mends` are the classes of errors that it was to mend; cost is micro-dollars."""

    number: int
    rung: str
    model: str
    mends: str
    result: str
    cost: int


@dataclass(frozen=True, slots=True)
class Brief:
    """What a model is told that goes on where others failed. `found` is the most frequent first, `order` how to go about it."""

    rung: str
    note: str
    problems: tuple[str, ...]
    found: tuple[Diagnosis, ...]
    order: tuple[ErrorName, ...]
    places: tuple[str, ...]
    tried: tuple[Tried, ...]


def builds(run: Run) -> tuple[Phase, ...]:
    """The build phases that have begun, in order."""
    return tuple(phase for phase in run.phases if phase.kind is Kind.IMPLEMENT and phase.state is not PhaseState.QUEUED)


def author(run: Run) -> Choice:
    """The model that made the change."""
    return next(phase.choice for phase in reversed(run.phases) if phase.kind is Kind.IMPLEMENT and phase.choice)


def most_attempts(run: Run) -> int:
    """How many attempts models get: those of the category, and the smallest change where there is time for that."""
    attempts = run.compiled.attempts
    return attempts + (attempts >= SIMPLIFY_AFTER)


def setbacks(run: Run) -> tuple[Setback, ...]:
    """All setbacks on the present base, in order."""
    return tuple(one.setback for one in builds(run) if one.setback and one.setback.changeset.base_sha == run.base_sha)


def failures(run: Run) -> tuple[Setback, ...]:
    """The setbacks of models that count as theirs."""
    return tuple(one.setback for one in builds(run) if one.setback and one.is_attempt and not one.setback.excused)


def failed_models(run: Run) -> list[ModelId]:
    """The models of attempts that failed, each as often as it did."""
    return [
        one.choice.model
        for one in builds(run)
        if one.choice and one.setback and not one.setback.excused and one.id != run.phase.id
    ]


def rung_of(run: Run, choice: Choice) -> Rung:
    """Which rung an attempt of `choice` is, by how it differs from the last one."""
    earlier = [one.choice.model for one in builds(run) if one.choice and one.id != run.phase.id]
    if not earlier:
        return "first"
    if len(failures(run)) >= SIMPLIFY_AFTER:
        return "simplify"
    classes = list(ModelClass)
    if classes.index(choice.model.model_class) > classes.index(earlier[-1].model_class):
        return "stronger class"
    return "other family" if choice.model.vendor != earlier[-1].vendor else "reflection"


def set_back(run: Run, problems: tuple[str, ...]) -> Setback:
    """What the gate of the active phase holds against the last attempt."""
    said = _evidence(run, problems)
    found = diagnose(said, patterns(run.request.settings.commands.errors))
    last = builds(run)[-1]
    ended = run.changeset or _base(run)
    borne = sum(bool(one.setback and one.setback.excused) for one in builds(run))
    excused = all(row.name in EXCUSED for row in found) and borne < MOST_EXCUSED
    names = frozenset(_failing(run, said, problems))
    return Setback(problems, found, names, last.began or _base(run), ended, excused)


def _evidence(run: Run, problems: tuple[str, ...]) -> tuple[Evidence, ...]:
    if run.phase.kind is Kind.VERIFY and run.baseline and run.proof and run.verdict:
        return of_proof(run.baseline, run.proof, run.verdict, patterns(run.request.settings.commands.errors))
    if run.phase.kind is Kind.REVIEW:
        return tuple(Evidence("review", problem, "unmet") for problem in problems)
    return tuple(Evidence("gate", problem) for problem in problems)


def _failing(run: Run, said: Iterable[Evidence], problems: tuple[str, ...]) -> Iterable[str]:
    """Tests by id, everything else by its words."""
    if run.phase.kind is not Kind.VERIFY or run.proof is None or run.verdict is None:
        return map(fingerprint, ([problem] for problem in problems))
    tests = blamed(run.proof.head.tests, run.verdict)
    return (*tests, *(fingerprint([one.text]) for one in said if one.source != "tests"))


def _base(run: Run) -> Changeset:
    return Changeset(run.request.session, run.base_sha, run.base_tree, ())


def judged(run: Run, problems: tuple[str, ...]) -> Run:
    """The run with the setback recorded where the attempt is."""
    return run.with_phase(replace(builds(run)[-1], setback=set_back(run, problems)))


def decide(run: Run) -> Halt | Attempt:
    """What follows on the setback that was recorded last."""
    last = builds(run)[-1]
    if last.setback is None or run.changeset is None:
        raise BugError("what follows on an attempt is asked before it was judged")
    setback, told = last.setback, "; ".join(last.setback.problems)
    remedies = [CLASSES[row.name].remedy for row in setback.found]
    if set(remedies) == {"stop"}:
        why = f"{setback.told}: the machine lacks something, which no change to the code mends: {told}"
        return Halt(RunState.DONE_FAILED_ENVIRONMENT, why)
    if "ask" in remedies:
        said = next(row.messages for row in setback.found if CLASSES[row.name].remedy == "ask")
        why = f"the change needs a package that is not installed, and only a person adds one: may it be added? {'; '.join(said)}"
        return Halt(RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, why)
    if set(remedies) == {"mechanical"} and not last.fixers and (fixers := _fixers(run, setback)):
        return Attempt(fixers, run.changeset, setback.problems)
    if run.attempt >= most_attempts(run):
        why = f"{run.attempt} of {most_attempts(run)} attempts used: {told}"
        return Halt(RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, why)
    if why := stuck(setbacks(run)):
        return Halt(RunState.DONE_FAILED_REQUIRES_HUMAN_REVIEW, f"{why}: {told}")
    return _again(run, setback)


def _again(run: Run, setback: Setback) -> Attempt:
    """A model's next attempt, and what it begins with: what the last one left, or a better one, or for the smallest change the
    base. What another job judged is bound to the job that made it, and stays."""
    left = [one for one in setbacks(run) if one.changeset.files]
    if len(failures(run)) >= SIMPLIFY_AFTER:
        why = f"{SIMPLIFY_AFTER} attempts failed, so the files are those of the base again"
        return Attempt((), _base(run), setback.problems, why)
    here = run.phase.kind is Kind.VERIFY and not isinstance(run.pending, RepeatProof)
    if here and (why := worse(left)):
        better = best(left[:-1])
        why = f"{why}, so the files are back as an earlier attempt left them"
        return Attempt((), better.changeset, better.problems, why)
    return Attempt((), setback.changeset, setback.problems)


def _fixers(run: Run, setback: Setback) -> tuple[FixerCall, ...]:
    """The repository's own tools for the stages that failed, on the files that they name; none where a stage has none."""
    mends = run.workspace.profile.mends if run.workspace else ()
    failed = [check for check in (run.proof.head.checks if run.proof else ()) if check.outcome == "fail"]
    there = [change.path for change in setback.changeset.files if change.after is not None]
    named = {check.name: tuple(path for path in there if f"\n{path}:" in f"\n{check.detail}") for check in failed}
    if not all(check.name in mends and named[check.name] for check in failed):
        return ()
    return tuple(
        FixerCall(name, paths, f"the check {name} failed, and its tool mends what it can by itself")
        for name, paths in named.items()
    )


def kept(run: Run) -> Run:
    """The run with the best of its attempts as its change, where the last one left none: a person gets what there is."""
    left = [one for one in setbacks(run) if one.changeset.files]
    if not left or run.changeset is None or run.changeset.files:
        return run
    changeset = best(left).changeset
    return replace(run, changeset=changeset, tree=changeset.tree)


def tried(run: Run) -> tuple[Tried, ...]:
    """Every attempt so far: what it was to mend, how, by whom, how it ended and what it cost."""
    rows, before = [], ""
    for number, phase in enumerate(builds(run), 1):
        cost = sum(charge.amount for charge in run.ledger.charges if charge.phase == phase.id)
        model = phase.choice.model.model if phase.choice else ""
        rung = phase.rung or ("mechanical" if phase.fixers or run.compiled.fixers else "first")
        rows.append(Tried(number, rung, model, before, _result(phase), cost))
        before = phase.setback.told if phase.setback else before
    return tuple(rows)


def _result(phase: Phase) -> str:
    if phase.setback:
        return f"failed: {phase.setback.told}" + (", which does not count" if phase.setback.excused else "")
    return {PhaseState.COMPLETE: "held", PhaseState.FAILED: "stopped"}.get(phase.state, "under way")


def brief(run: Run) -> Brief | None:
    """What the model of the active build phase is told of the attempts before it; None for the first."""
    behind, began = setbacks(run), run.phase.began
    if run.phase.kind is not Kind.IMPLEMENT or not behind:
        return None
    last = next((one for one in reversed(behind) if began and one.changeset.tree == began.tree), behind[-1])
    problems = run.phase.brief[-PROBLEMS:] if run.phase.rung == "simplify" else run.phase.brief
    return Brief(
        run.phase.rung,
        run.phase.reason,
        tuple(problem[:PROBLEM] for problem in problems) if run.phase.rung == "simplify" else problems,
        last.found,
        order(last.found),
        places(last.found, run.changeset),
        tuple(replace(row, cost=0) for row in tried(run)[:-1]),
    )


def refused_edits(phase: Phase) -> str:
    """What the last edit was told where every edit of a phase was refused; empty where one was made or none was tried."""
    edits: set[str] = set()
    last = ""
    for block in (block for message in phase.conversation for block in message.blocks):
        if isinstance(block, ToolUse) and _is_edit(block):
            edits.add(block.id)
        elif isinstance(block, ToolResult) and block.id in edits:
            if not block.is_error:
                return ""
            last = block.text
    return last


def _is_edit(use: ToolUse) -> bool:
    return use.name == "apply_patch" or (use.name == "str_replace_based_edit_tool" and '"view"' not in use.arguments)
