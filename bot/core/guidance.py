"""Guidance while a model works: what it is told of a class of errors once that class came often enough, until it stays away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.core.diagnosis import Diagnosis
from bot.core.error_classes import CLASSES, ErrorName

THRESHOLDS: Mapping[ErrorName, tuple[int, int]] = {
    "syntax": (1, 9), "import": (1, 8), "type": (1, 7), "lint": (2, 7), "attribute": (1, 6), "test_failure": (2, 6),
}  # fmt: skip
"""Errors of a class from which on it brings its guidance, and its priority: the highest is told first."""
SUCCESSES, FADING, LEAST = 2, 0.7, 0.5
"""After so many successes in a row counts fade by that factor, with each one; what is below the least is forgotten."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How often each class came, faded where it stayed away, and the successes in a row since."""

    counts: tuple[tuple[ErrorName, float], ...] = ()
    successes: int = 0


def after(seen: Seen, found: Sequence[Diagnosis]) -> Seen:
    """What was seen, and one more look that found this; nothing found is a success."""
    if found:
        counts = dict(seen.counts)
        for row in found:
            counts[row.name] = counts.get(row.name, 0.0) + row.count
        return Seen(tuple(counts.items()), 0)
    fading = FADING if seen.successes + 1 >= SUCCESSES else 1.0
    faded = ((name, count * fading) for name, count in seen.counts)
    return Seen(tuple((name, count) for name, count in faded if count >= LEAST), seen.successes + 1)


def advice(seen: Seen, found: Sequence[Diagnosis] = ()) -> tuple[str, ...]:
    """A line for each class that reached its threshold, in the repository's own words where `found` has some."""
    hints = {name: CLASSES[name].hint for name in THRESHOLDS} | {row.name: row.hint for row in found}
    reached = [name for name, count in seen.counts if name in THRESHOLDS and count >= THRESHOLDS[name][0]]
    reached.sort(key=lambda name: (-THRESHOLDS[name][1], name))
    return tuple(f"{name.replace('_', ' ')}: {hints[name]}" for name in reached)
