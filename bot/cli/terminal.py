"""What a person at the terminal sees while a run goes on, and is asked. Quiet and plain where nobody is watching."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from bot.core.budget import dollars
from bot.core.effects import AskPerson, PriceCall, RunBaseline, RunFixers, RunProof, SendCall, UseTools
from bot.core.events import (
    Answered,
    BaselineRan,
    BaseMoved,
    CallFailed,
    ChangesetTaken,
    Delivered,
    FixersRan,
    ModelReplied,
    ProofRan,
    ToolsUsed,
    WorkspaceReady,
)
from bot.core.paths import printable
from bot.core.policy import redact
from bot.core.run import Run, short
from bot.core.summary import budget_line
from bot.loop.driver import Moment, Observer
from bot.loop.projections import plan_text

NOTE_WIDTH = 160
LABEL_WIDTH = 14
PERSON = "the person at the terminal"

Line = tuple[str, str]
"""What a line is about, and what it says."""


def watcher(*, quiet: bool) -> Observer:
    """Prints one line for each thing of note to standard error."""
    if quiet:
        return lambda _: None
    console = Console(stderr=True, highlight=False)
    live = console.is_terminal
    status = console.status("") if live else None

    def watch(moment: Moment) -> None:
        if status is not None:
            doing = _doing(moment)
            if doing:
                status.update(Text(f"{doing} · {budget_line(moment.run)}", no_wrap=True, overflow="ellipsis"))
                status.start()
            else:
                status.stop()
        if said := _said(moment):
            console.print(escape(printable(redact(said))))

    return watch


def _doing(moment: Moment) -> str:
    """What the effect about to be performed is waiting for."""
    run, effect = moment.run, moment.effect
    if isinstance(effect, (PriceCall, SendCall)) and run.call:
        return f"{run.phase.kind} {run.phase.stage}: asking {run.call.choice.model.model}"
    waits = {
        RunBaseline: "checks and tests on the base",
        RunFixers: "deterministic fixers",
        UseTools: "tools at work",
        RunProof: "checks and tests on the result",
    }
    return next((text for kind, text in waits.items() if isinstance(effect, kind)), "")


def _said(moment: Moment) -> str:
    """The line for an event, or nothing."""
    tell = _LINES.get(type(moment.event))
    said = tell(moment.run, moment.event) if tell else None
    return f"{said[0]:<{LABEL_WIDTH}} {said[1]}" if said else ""


def _baseline(_: Run, event: BaselineRan) -> Line:
    tests, taken = event.checks.tests, event.checks.taken
    when = f" (taken from the run of {taken})" if taken else ""
    return "baseline", f"tests {tests.outcome}: {tests.collected} collected, {len(tests.failing)} failing{when}"


def _reply(run: Run, event: ModelReplied) -> Line:
    charge = run.ledger.charges[-1]
    return charge.role, f"{event.model}: {event.usage.prompt:,} in, {event.usage.output:,} out, {dollars(charge.amount)}"


def _tools(_: Run, event: ToolsUsed) -> Line:
    return "tools", f"{len(event.results)} used, {sum(result.is_error for result in event.results)} refused or failed"


def _proof(run: Run, _: ProofRan) -> Line | None:
    if run.verdict is None:
        return None
    return "proof", f"{run.verdict.outcome}: {len(run.verdict.reproduced)} tests fail before and pass after{_problems(run)}"


def _moved(run: Run, event: BaseMoved) -> Line:
    told = f"{run.request.base_branch} is at {event.base_sha[:12]} now"
    in_conflict = len(event.conflicts) + len(event.unmergeable)
    return "base", f"{told}: {len(event.both)} files changed by both, {in_conflict} in conflict"


_LINES: dict[type[Any], Callable[[Run, Any], Line | None]] = {
    WorkspaceReady: lambda _, event: ("workspace", f"{event.profile.language}, sandbox {event.sandbox.tier}"),
    BaselineRan: _baseline,
    FixersRan: lambda _, event: ("fixers", "; ".join(f"{r.fixer}: {r.before} before, {r.after} after" for r in event.reports)),
    ModelReplied: _reply,
    CallFailed: lambda _, event: ("call", f"failed ({event.error}): {event.message}"),
    ToolsUsed: _tools,
    ChangesetTaken: lambda _, event: ("changeset", f"{len(event.changeset.files)} files, {short(event.changeset.digest)}"),
    ProofRan: _proof,
    BaseMoved: _moved,
    Delivered: lambda _, event: ("delivered", f"{event.branch} at {event.head_sha[:12]}"),
}


def _problems(run: Run) -> str:
    text = "; ".join(run.verdict.problems) if run.verdict else ""
    return f"; {text[:NOTE_WIDTH]}" if text else ""


def asker() -> Callable[[Run, AskPerson], Answered | None] | None:
    """Asks at the terminal, where there is one with a person at it."""
    if not sys.stdin.isatty() or not sys.stderr.isatty():
        return None

    def ask(run: Run, effect: AskPerson) -> Answered | None:
        from rich.markdown import Markdown  # noqa: PLC0415 - it brings every highlighter along, and few runs ask

        console = Console(stderr=True, highlight=False)
        console.print(Markdown(plan_text(run)))
        console.print(escape(f"Approval is needed: {effect.reason}."))
        question = f"Approve contract {short(effect.digest)}? [y]es, [n]o, or Enter to decide later: "
        try:
            answer = console.input(question, markup=False).strip().lower()
        except EOFError:
            return None
        if answer in ("y", "yes"):
            return Answered(effect.digest, "approved", PERSON)
        return Answered(effect.digest, "declined", PERSON) if answer in ("n", "no") else None

    return ask
