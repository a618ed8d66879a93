"""Ostler's command line, real to the last line but told that the base's suite took so many seconds.

    python -m bench.slow 420 run PATH --issue FILE --approve --json

The stand-in's clock jumps by as much where the suite runs, so both sides of the wire live in the same time and nobody waits.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from bot.cli.main import main
from bot.core.effects import Effect
from bot.core.events import BaselineRan, Event
from bot.core.run import Run
from bot.loop.perform import Rooms


def take(seconds: float) -> None:
    """Make the base's test report say that the suite took `seconds`."""
    perform = Rooms.perform

    def slow(self: Rooms, run: Run, effect: Effect) -> Event | None:
        event = perform(self, run, effect)
        if isinstance(event, BaselineRan):
            return BaselineRan(replace(event.checks, tests=replace(event.checks.tests, seconds=seconds)))
        return event

    Rooms.perform = slow  # type: ignore[method-assign]  # as in bench.until, the one place that reaches into Ostler


if __name__ == "__main__":
    take(float(sys.argv.pop(1)))
    main()
