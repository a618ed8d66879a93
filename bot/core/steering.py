"""What a person says that only a session's state keeps: of which class the models of its further jobs are to be, which phase they
are to do without, and that it is put away.

The first two count from the next job on. Who judges keeps the class that the risk asks for, and what the result rests on is never
skipped.
"""

from __future__ import annotations

from dataclasses import replace

from bot.core.events import ClassChosen
from bot.core.machines import PhaseState
from bot.core.phases import FRAMING, SKIPPABLE, Kind, Role
from bot.core.run import Run, Step, as_before
from bot.core.selection import ModelClass, at_class
from bot.core.session import SessionState, named
from bot.core.settling import approval_waits

CLASSES = (ModelClass.FAST, ModelClass.BALANCED, ModelClass.ADVANCED)


# --- in a session -----------------------------------------------------------------------------------------------------


def unusable_class(word: str, state: SessionState) -> str:
    """Why the session's models cannot be of this class, in one line; empty where they can."""
    if word not in CLASSES:
        return f"Say which class, as in `/ostler model {CLASSES[-1]}`: {', '.join(CLASSES)}."
    if state.floor and CLASSES.index(ModelClass(word)) < CLASSES.index(ModelClass(state.floor)):
        return f"This work is of high risk: no model below class `{state.floor}` works on it."
    if approval_waits(state):
        return "The plan that waits for approval names its models: say this once it is approved."
    return ""


def unskippable(word: str, state: SessionState) -> str:
    """Why the session cannot do without this phase, in one line; empty where it can."""
    if word not in SKIPPABLE:
        return f"What can be skipped is {', '.join(SKIPPABLE)}: the result rests on all the others."
    if approval_waits(state):
        return "The plan is made: what could be skipped lies behind it."
    return ""


def unarchivable(word: str, state: SessionState | None) -> str:
    """Why the session that `word` names cannot be put away, in one line; empty where it can. `state` is that session's."""
    if not named(word):
        return "Say which session, as in `/ostler archive issue-42-3f9a1c2b`."
    if state is None:
        return f"There is no session `{word}` on this issue."
    return "" if state.standing == "over" else "Only a session that is over can be archived: `/ostler stop` ends it."


def noted(state: SessionState, verb: str, word: str, by: str) -> SessionState:
    """The state with what `by` said; said twice, it is the same. When the last workflow run was settled stays as it was."""
    if verb == "model":
        after = replace(state, model_class=word, model_by=by)
    elif verb == "archive":
        after = replace(state, archived_by=state.archived_by or by)
    else:
        skips = ",".join(dict.fromkeys([*filter(None, state.skips.split(",")), word]))
        after = replace(state, skips=skips, skips_by=by)
    return state if after == state else replace(after, seq=state.seq + 1, prev=state.digest)


def told(verb: str, word: str) -> str:
    if verb == "archive":
        return f"`{word}` is archived: this issue has it no more."
    if verb == "model":
        return f"From the next job on, planner and builder are of class `{word}`. Who judges their work stays the same."
    return f"{word} is skipped from the next job on, unless it is done by then."


# --- in a run ---------------------------------------------------------------------------------------------------------


def class_chosen(run: Run, event: ClassChosen) -> Step:
    """Whoever waits for an answer of a model of the class before hands over: a transcript is for one model only."""
    run = with_class(replace(run, chosen_class=event))
    if run.strategy is None or run.waiting is None or run.phase.kind not in (*FRAMING, Kind.IMPLEMENT):
        return as_before(run)
    phase = run.phase
    builder = next((choice for choice in run.strategy.choices if choice.role is Role.BUILDER), None)
    begun = ("Another model began this. The files are as it left them.",) if phase.choice and phase.conversation else ()
    phase = replace(phase, choice=builder if phase.choice else None, conversation=(), brief=(*phase.brief, *begun))
    return as_before(run.with_phase(phase))


def with_class(run: Run) -> Run:
    """The run with planner and builder of the class that a person chose, if one did."""
    if run.chosen_class is None or run.strategy is None or not run.strategy.choices:
        return run
    chosen, strategy = run.chosen_class, run.strategy
    choices = at_class(strategy.choices, run.request.settings.models, chosen.model_class, strategy.triage, chosen.by)
    return replace(run, strategy=replace(strategy, choices=choices))


def begun(run: Run) -> Run:
    """A run whose strategy was just compiled, with what was said before."""
    return without(with_class(run))


def without(run: Run) -> Run:
    """The run with those of its phases skipped that a person wants to do without and that have not begun."""
    said = {event.kind: event.by for event in run.skips}
    phases = tuple(
        replace(phase, state=PhaseState.SKIPPED, reason=f"skipped by {said[phase.kind]}")
        if phase.state is PhaseState.QUEUED and phase.kind in said
        else phase
        for phase in run.phases
    )
    return replace(run, phases=phases)
