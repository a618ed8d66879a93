"""The plan's tasks as a graph: refused when it is not one, in an order that respects it."""

from __future__ import annotations

from collections.abc import Sequence

from bot.core.answers import AnswerError, Task


def ordered(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """`tasks` so that each comes after all it depends on, otherwise in the given order (Kahn 1962).

    Raises:
        AnswerError: an id twice, an unknown dependency, or a cycle, which is named.
    """
    known = {task.id: task for task in tasks}
    if len(known) != len(tasks):
        raise AnswerError("two tasks have the same id")
    for task in tasks:
        if strangers := [name for name in task.depends_on if name not in known]:
            raise AnswerError(f"task {task.id} depends on {strangers[0]}, which is no task")
    done: dict[str, Task] = {}
    while len(done) < len(tasks):
        ready = [task for task in tasks if task.id not in done and all(name in done for name in task.depends_on)]
        if not ready:
            raise AnswerError(f"the tasks depend on each other in a circle: {' -> '.join(_cycle(known, set(done)))}")
        done |= {task.id: task for task in ready}
    return tuple(done.values())


def _cycle(known: dict[str, Task], done: set[str]) -> list[str]:
    """Walk along open dependencies until an id comes up again."""
    trail = [next(name for name in known if name not in done)]
    while True:
        after = next(name for name in known[trail[-1]].depends_on if name not in done)
        if after in trail:
            return [*trail[trail.index(after) :], after]
        trail.append(after)
