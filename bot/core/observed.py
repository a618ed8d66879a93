"""What finished runs say about the limits: bases made anew from what was used, and the figures that the limits are judged by.

A limit is meant to hold for three of four tasks, so a base is the 75th percentile (nearest rank) of what runs used, each divided
by its own factors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from fractions import Fraction
from math import ceil

from bot.core.errors import BadInput
from bot.core.experience import Audited, RunCost
from bot.core.limits import KindBase, Rules, task_limits
from bot.core.phases import FRAMING, Kind

FEWEST = 5
"""Observations of a kind below which its base stays."""

GROUPS = {
    "planning": FRAMING,
    "implementation": (Kind.IMPLEMENT,),
    "verification": (Kind.VERIFY, Kind.REVIEW, Kind.PR, Kind.MONITOR),
}
TARGETS = {"within": (90, 100), "stopped": (0, 5), "false_positives": (0, 2)}
"""Percent, from and to: of runs within their limits, of runs over the stop-loss, of breaches that a person called false."""
DRIFT, MOST_CRITICAL, LOOSEN = Fraction(1, 5), 10, 5
"""Where an alert begins: the change in a week, percent of tasks that are critical, of breaches that were false."""
MANY, FEWEST_OF_A_WEEK = 10, 3
"""Runs that a share of critical ones, and a week's mean, are taken of at least."""
TARGET_SHARES = {"planning": 30, "implementation": 50, "verification": 20}
"""Percent of all tokens."""


@dataclass(frozen=True, slots=True)
class Rebased:
    """The base of one kind after `n` observations, and in words whether it is new."""

    kind: str
    base: KindBase
    n: int
    text: str


def rebase(runs: Iterable[RunCost], rules: Rules) -> tuple[Rebased, ...]:
    """The base of each kind from what `runs` used, its weight unchanged.

    Raises:
        BadInput: a run of a scope, importance or kind that the rules don't know.
    """
    seen: dict[str, list[tuple[Fraction, Fraction]]] = {kind: [] for kind, _ in rules.base}
    for run in runs:
        for use in run.uses:
            factor = rules.factor(run.scope, run.importance, use.kind)
            seen[use.kind].append((use.tokens / factor, Fraction(use.seconds) / factor))
    return tuple(_rebased(kind, base, seen[kind]) for kind, base in rules.base)


def _rebased(kind: str, base: KindBase, seen: Sequence[tuple[Fraction, Fraction]]) -> Rebased:
    n = len(seen)
    if n < FEWEST:
        return Rebased(kind, base, n, f"kept: {n} of the {FEWEST} runs that a new base needs")
    tokens, seconds = (max(1, ceil(sorted(column)[ceil(Fraction(3 * n, 4)) - 1])) for column in zip(*seen, strict=True))
    text = f"{base.tokens:,} to {tokens:,} tokens, {base.seconds:,} to {seconds:,} s: the 75th percentile of {n} runs"
    return Rebased(kind, replace(base, tokens=tokens, seconds=seconds), n, text)


def false_approvals(audits: Iterable[Audited]) -> tuple[int, int]:
    """Of the known defects that auditors were shown, how many they let pass, and how many they were."""
    shown = [audited.planted for audited in audits if audited.planted]
    return shown.count("approved"), len(shown)


@dataclass(frozen=True, slots=True)
class Indicators:
    """Percents, rounded to the nearest; None where there is nothing to take them of. `shares` are of all tokens."""

    runs: int
    within: int | None
    stopped: int | None
    false_positives: int | None
    shares: tuple[tuple[str, int], ...]


def indicators(runs: Sequence[RunCost], rules: Rules, *, breaches: int = 0, false_breaches: int = 0) -> Indicators:
    """How the limits of `rules` fit `runs`. `false_breaches` of the `breaches` were marked as such by a person.

    Raises:
        BadInput: more marks than breaches, or a run that the rules don't know.
    """
    if not 0 <= false_breaches <= breaches:
        raise BadInput(f"{false_breaches} of {breaches} breaches cannot be marked as false: count the marks again.")
    shares = [_share(run, rules) for run in runs if run.uses]
    stop = Fraction(rules.thresholds.stop_loss)
    used: dict[str, int] = dict.fromkeys(GROUPS, 0)
    group_of = {str(kind): name for name, kinds in GROUPS.items() for kind in kinds}
    for run in runs:
        for use in run.uses:
            used[group_of[use.kind]] += use.tokens
    total = sum(used.values())
    return Indicators(
        len(shares),
        _rate(sum(share <= 1 for share in shares), len(shares)),
        _rate(sum(share > stop for share in shares), len(shares)),
        _rate(false_breaches, breaches),
        tuple((name, rate) for name, tokens in used.items() if (rate := _rate(tokens, total)) is not None),
    )


def alerts(runs: Sequence[RunCost], found: Indicators, rules: Rules, today: date) -> tuple[str, ...]:
    """What somebody should look at, a sentence each: limits that fit worse than a week ago, too many tasks called critical, too
    many false breaches. Empty where there is too little to tell by.

    Raises:
        BadInput: a run that the rules don't know.
    """
    told = []
    this, before = (_week(runs, rules, today - timedelta(days=back)) for back in (0, 7))
    if this is not None and before and abs(this / before - 1) > DRIFT:
        told.append(
            f"Runs of the last seven days used {_percent(this)}% of their limits, those of the seven days before "
            f"{_percent(before)}%: see what changed, or take the limits above."
        )
    critical = _rate(sum(run.importance == "critical" for run in runs), len(runs)) if len(runs) >= MANY else None
    if critical is not None and critical > MOST_CRITICAL:
        told.append(f"{critical}% of the runs were critical, more than {MOST_CRITICAL}%: see what the word is used for.")
    if found.false_positives is not None and found.false_positives > LOOSEN:
        told.append(
            f"{found.false_positives}% of the breaches were called false, more than {LOOSEN}%: raise "
            "`budget.thresholds.exceeded` to 2.0 and `budget.thresholds.stop_loss` to 1.5, or the limits themselves."
        )
    return tuple(told)


def _week(runs: Iterable[RunCost], rules: Rules, last: date) -> Fraction | None:
    """The mean share of their limits that runs of the seven days up to `last` used; None where they are too few."""
    days = {str(last - timedelta(days=back)) for back in range(7)}
    shares = [_share(run, rules) for run in runs if run.day in days and run.uses]
    return sum(shares, Fraction()) / len(shares) if len(shares) >= FEWEST_OF_A_WEEK else None


def _percent(share: Fraction) -> int:
    return round(100 * share)


def _share(run: RunCost, rules: Rules) -> Fraction:
    limits = task_limits(rules, (use.kind for use in run.uses), run.scope, run.importance)
    return Fraction(sum(use.tokens for use in run.uses), sum(one.tokens for one in limits))


def _rate(part: int, whole: int) -> int | None:
    return round(Fraction(100 * part, whole)) if whole else None
