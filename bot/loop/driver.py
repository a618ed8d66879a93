"""The one interpreter: fold the journal, perform what is pending, append the answer, until nothing is left to do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bot.core.effects import Effect, SendCall
from bot.core.errors import BugError, SetupError
from bot.core.events import CallFailed, Event
from bot.core.run import Run
from bot.core.step import step
from bot.store.journal import Journal, Record, recordable

Pending = tuple[int, Effect]
Perform = Callable[[Run, Effect], Event | None]
"""None means that the room is there and did not answer: a person who decides later."""
Mine = Callable[[Run, Effect], bool]
"""Whether an effect is for this job; another's waits in the outbox."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What an observer is shown: an effect about to be performed, or an event that was recorded."""

    run: Run
    at: str
    effect: Effect | None = None
    event: Event | None = None


Observer = Callable[[Moment], None]


def fold(records: Sequence[Record]) -> tuple[Run | None, list[Effect], list[Pending]]:
    """The state after `records`, the effects that should follow them but were not written, and those not yet answered.

    Raises:
        SetupError: an event led to other effects than it would now: another version wrote the journal.
    """
    run: Run | None = None
    expected: deque[Effect] = deque()
    pending: dict[int, Effect] = {}
    for record in records:
        if isinstance(record.item, Event):
            if expected:
                raise BugError(f"record {record.seq}: effects of the event before are missing")
            if record.of is not None and record.of not in pending:
                raise BugError(f"record {record.seq} answers record {record.of}, which is no open question")
            pending.clear()  # a person's word settles a question as its answer does: there is never more than one
            run, effects = step(run, record.item)
            expected = deque(effects)
        else:
            if not expected or expected.popleft() != record.item:
                raise SetupError(
                    f"Journal record {record.seq}: this version of Ostler decides otherwise; use the one that wrote it."
                )
            pending[record.seq] = record.item
    return run, list(expected), list(pending.items())


class Driver:
    """A run in motion. `run` is always the fold of the journal."""

    def __init__(self, journal: Journal, perform: Perform, mine: Mine, observers: Sequence[Observer] = ()) -> None:
        self._journal, self._perform, self._mine, self._observers = journal, perform, mine, observers
        self._run, missing, pending = fold(journal.records)
        self._pending = deque(pending)
        if missing:
            self._pending += [(record.seq, effect) for record, effect in zip(journal.append(None, missing), missing, strict=True)]

    @property
    def run(self) -> Run:
        if self._run is None:
            raise BugError("the journal is empty")
        return self._run

    def feed(self, event: Event, of: int | None = None) -> None:
        """Record an event and what it leads to."""
        event = recordable(event)
        run, effects = step(self._run, event)
        records = self._journal.append(event, effects, of)
        self._run = run
        self._pending = deque((record.seq, effect) for record, effect in zip(records[1:], effects, strict=True))
        self._show(Moment(run, records[0].at, event=event))

    def answer(self, event: Event, kind: type[Effect]) -> None:
        """Record what came from outside for the effect of `kind` in the outbox."""
        self.feed(event, next((seq for seq, effect in self._pending if isinstance(effect, kind)), None))

    def recover(self) -> None:
        """After a restart: a call without a recorded answer may have been billed, so it is given up as lost and asked anew."""
        for seq, effect in tuple(self._pending):
            if isinstance(effect, SendCall):
                self.feed(CallFailed(effect.call, "interrupted", "unknown", "the process ended before an answer came"), seq)

    def drive(self) -> Run:
        """Perform what is this job's. What then is left waits in the outbox, or the run is over or waits for a person."""
        while item := next((item for item in self._pending if self._mine(self.run, item[1])), None):
            seq, effect = item
            self._show(Moment(self.run, self._journal.records[-1].at, effect=effect))
            event = self._perform(self.run, effect)
            if event is None:
                break
            self.feed(event, seq)
        return self.run

    def _show(self, moment: Moment) -> None:
        for observe in self._observers:
            observe(moment)
