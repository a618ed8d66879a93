"""Mending by the repository's own tools: what failed in checks of lint and layout, in the files named, without a model."""

from __future__ import annotations

from collections.abc import Sequence

from bot.core.reports import FixerCall, FixerReport
from bot.workspace.git import Worktree
from bot.workspace.sandbox import Sandbox
from bot.workspace.toolchains import Toolchain
from bot.workspace.toolchains.checks import Mender
from bot.workspace.toolchains.toolchain import CHECK_SECONDS, TOOL_OUTPUT

ROUNDS = 5


def mend(toolchain: Toolchain, worktree: Worktree, box: Sandbox, calls: Sequence[FixerCall]) -> tuple[FixerReport, ...]:
    """Run the tools of the stages that `calls` name on their files (`args`) in rounds, and leave the result.

    One tool's work may make room for another's. A round that leaves no less amiss than the one before is undone.
    """
    menders = toolchain.menders()
    start = worktree.snapshot()
    found = first = _amiss(toolchain, worktree, box, calls)
    for _ in range(ROUNDS):
        if found is None or not any(found):
            break
        before = worktree.snapshot()
        for call in calls:
            toolchain.place.run(box, worktree.tree, (*menders[call.name].mend, *call.args), CHECK_SECONDS)
        now = _amiss(toolchain, worktree, box, calls)
        if now is None or sum(now) >= sum(found):
            worktree.restore(before)
            break
        found = now
    changed = tuple(change.path for change in worktree.changes(start, worktree.snapshot()))
    return tuple(_report(menders[call.name], call, at, first, found, changed) for at, call in enumerate(calls))


def _amiss(toolchain: Toolchain, worktree: Worktree, box: Sandbox, calls: Sequence[FixerCall]) -> list[int] | None:
    """How much each tool finds; None where one cannot run."""
    counts = []
    for call in calls:
        mender = toolchain.menders()[call.name]
        argv = (*mender.find, *call.args)
        found = mender.read(toolchain.place.run(box, worktree.tree, argv, CHECK_SECONDS, output_bytes=TOOL_OUTPUT))
        if found is None:
            return None
        counts.append(len(found))
    return counts


def _report(
    mender: Mender, call: FixerCall, at: int, first: list[int] | None, found: list[int] | None, changed: tuple[str, ...]
) -> FixerReport:
    if first is None or found is None:
        return FixerReport(call.name, mender.mend, 0, 0, (), f"the tool of {call.name} cannot run")
    detail = f"{first[at]} before, {found[at]} after, {len(changed)} files changed"
    return FixerReport(call.name, mender.mend, first[at], found[at], changed, detail)
