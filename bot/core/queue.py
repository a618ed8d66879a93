"""The App's queue, as far as it needs no database: priorities by label, the length of leases, why a session waits."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

LEASE_SECONDS = 300.0
"""How long whoever takes a session has it before the lease has to be renewed."""
HEARTBEAT = 0.8
"""The part of a lease after which it is renewed."""
MAX_RENEWALS = 10
"""Of one lease: with the first part, 45 minutes."""
PER_REPOSITORY, MOST_PER_REPOSITORY = 1, 20
"""Workflow runs of a repository that work at a time, where its configuration says nothing, and at most."""


class Priority(IntEnum):
    """The order of the queue: the lowest number is first. FIRST is what a person put before everything."""

    FIRST = 0
    URGENT = 1
    HIGH = 2
    NORMAL = 3
    LOW = 4


_WORDS = {
    "urgent": Priority.URGENT, "p0": Priority.URGENT, "critical": Priority.URGENT,
    "high": Priority.HIGH, "p1": Priority.HIGH, "important": Priority.HIGH,
    "low": Priority.LOW, "p3": Priority.LOW, "cleanup": Priority.LOW,
}  # fmt: skip


def priority(labels: Iterable[str]) -> Priority:
    """By the most urgent label: a word alone or behind `priority:`, in any case; NORMAL where none says anything."""
    words = (label.lower().removeprefix("priority:").strip() for label in labels)
    return min((_WORDS[word] for word in words if word in _WORDS), default=Priority.NORMAL)


def why_waits(running: int, most: int, before: int, *, starting: bool = False, paused: bool = False) -> str:
    """Why a queued session is not at work: `running` of `most` workflow runs of its repository are, `starting` says that one of
    them is being asked for, and so many sessions of other repositories or its own come `before` it."""
    if paused:
        return "the repository is paused"
    if running >= most:
        return f"{running} of {most} workflow {'run' if most == 1 else 'runs'} of the repository at work"
    if starting:
        return "another session of the repository is being started"
    return f"{before} before it" if before else "next"
