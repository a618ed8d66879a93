"""Concurrency groups of called workflows and of jobs: one at a time in each, others wait or push each other out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from bot.demo.runner.contexts import Group

MOST_WAITING = 100
"""How many may wait in a group with `queue: max`."""

Key = tuple[str, str]  # repository and name, lower case


@dataclass(eq=False, slots=True)
class Ticket:
    """A place in a group, held from `enter` to `leave`."""

    key: Key
    stop: Callable[[], None]
    pushed: bool = False


@dataclass(slots=True)
class _Line:
    inside: Ticket | None = None
    waiting: list[Ticket] = field(default_factory=list)


class Groups:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._lines: dict[Key, _Line] = {}

    def enter(self, repository: str, group: Group, stop: Callable[[], None], gives_up: Callable[[], bool]) -> Ticket | None:
        """Wait for the group; None where another one pushed this out or it gives up. `stop` is how another one cancels it."""
        ticket = Ticket((repository.lower(), group.name.lower()), stop)
        with self._changed:
            line = self._lines.setdefault(ticket.key, _Line())
            room = MOST_WAITING - 1 if group.queue == "max" else 0
            for earlier in line.waiting[: max(len(line.waiting) - room, 0)]:
                earlier.pushed = True
            line.waiting.append(ticket)
            self._changed.notify_all()
            under_way = line.inside
        if under_way and group.cancels:
            under_way.stop()
        with self._changed:
            while line.inside is not None or line.waiting[0] is not ticket:
                if ticket.pushed or gives_up():
                    break
                self._changed.wait()
            line.waiting.remove(ticket)
            self._changed.notify_all()
            if ticket.pushed or gives_up():
                return None
            line.inside = ticket
            return ticket

    def leave(self, ticket: Ticket) -> None:
        with self._changed:
            self._lines[ticket.key].inside = None
            self._changed.notify_all()

    def look_again(self) -> None:
        """A run was cancelled: whoever waits asks itself whether it gives up."""
        with self._changed:
            self._changed.notify_all()
