"""Ostler's command line, real to the last line but ended where a phase begins.

    python -m bench.until IMPLEMENT run PATH --issue FILE --approve --json      everything before the build
    python -m bench.until VERIFY resume SESSION --json                          the build alone, in a process of its own

What follows is in the journal already, so `ostler resume` goes on from there.
"""

from __future__ import annotations

import sys

from bot.cli.main import main
from bot.core.effects import Effect
from bot.core.events import Event
from bot.core.machines import PhaseState
from bot.core.run import Run
from bot.loop.perform import Rooms


def stop_at(kind: str) -> None:
    """Make the first effect of a phase of `kind` the end of the process."""
    perform = Rooms.perform

    def until(self: Rooms, run: Run, effect: Effect) -> Event | None:
        if any(phase.state is PhaseState.EXECUTING and phase.kind == kind for phase in run.phases):
            raise SystemExit(0)
        return perform(self, run, effect)

    Rooms.perform = until  # type: ignore[method-assign]  # the one place where the bench reaches into Ostler


if __name__ == "__main__":
    stop_at(sys.argv.pop(1))
    main()
