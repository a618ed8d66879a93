"""Where a task stands against its limits: breaches of single phases with their likely cause, and the stop-loss over all.

Limits are those of `bot.core.limits`, frozen at the start. A phase that runs again counts against the limit its kind had, so
going back never raises what a task may use. Only an audited override does: it adds the limits once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Literal

from bot.core.errors import BugError
from bot.core.limits import Limit, Rules, Thresholds
from bot.core.phases import KINDS, Kind

Action = Literal["go", "warn", "block"]
Breach = Literal["within", "warning", "exceeded"]

DAY = 24 * 3600
COSTS_NOTHING = frozenset((Kind.PR, Kind.MONITOR, *(kind for kind, spec in KINDS.items() if not spec.stages)))
"""Kinds that ask no model: with only these left, a task is almost done."""

CRITICAL_LADDER = (Fraction(6, 5), Fraction(3, 2), Fraction(2))
"""Shares of its limits above which an approved critical task is warned, owes a post-mortem, is stopped."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a phase has used: fresh tokens (`Usage.fresh`), and active seconds, waiting excluded."""

    phase: str
    kind: str
    tokens: int
    seconds: float
    estimated: bool = False
    attempts: int = 1

    @property
    def active(self) -> float:
        """Seconds that count: none where the clock cannot have been right (below zero, above a day, not a number)."""
        return self.seconds if self.timed else 0.0

    @property
    def timed(self) -> bool:
        """Whether the clock can have been right."""
        return 0 <= self.seconds <= DAY


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a phase beside its use: calls made, turns of its longest conversation, answers that could not be read,
    calls whose outcome is unknown, and the input tokens of the first and the last call."""

    calls: int = 0
    turns: int = 0
    unusable: int = 0
    lost: int = 0
    first_input: int = 0
    last_input: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """What the stop-loss says. `block` holds at the next VERIFY; until then it is a warning.

    `would` is what mode `enforce` would do: in mode `observe`, and for levels of importance that are not enforced, `action` is at
    most `warn`. `allowed` is the sum of all limits, in tokens, with what overrides added. Percents are of it, rounded up; the
    forecast adds what the limits of the remaining kinds leave. `post_mortem` asks for a written account of an approved critical
    task.
    """

    action: Action
    would: Action
    allowed: int
    cumulative_percent: int
    forecast_percent: int
    post_mortem: bool
    text: str
    reasons: tuple[str, ...]


def by_kind(uses: Iterable[Use]) -> tuple[Use, ...]:
    """One use for each kind, in order of first appearance: what its limit is compared with."""
    groups: dict[str, list[Use]] = {}
    for use in uses:
        groups.setdefault(use.kind, []).append(use)
    return tuple(
        Use(
            ", ".join(use.phase for use in mine),
            kind,
            sum(use.tokens for use in mine),
            sum(use.active for use in mine),
            any(use.estimated for use in mine),
            sum(use.attempts for use in mine),
        )
        for kind, mine in groups.items()
    )


def shares(use: Use, limit: Limit) -> tuple[Fraction, Fraction]:
    """Tokens and seconds used, as shares of the limit."""
    return Fraction(use.tokens, limit.tokens), Fraction(use.active) / limit.seconds


def breach(use: Use, limit: Limit, thresholds: Thresholds) -> Breach:
    """How the larger of the two shares compares with the thresholds. A share equal to a threshold has not passed it."""
    share = max(shares(use, limit))
    return (
        "exceeded" if share > Fraction(thresholds.exceeded) else "warning" if share > Fraction(thresholds.warning) else "within"
    )


def explain(use: Use, limit: Limit, facts: Facts) -> str:
    """A breach in one sentence: how far, the likely causes from what is known, and what to do about the first of them."""
    tokens, seconds = shares(use, limit)
    larger = (
        f"the task is larger than its scope says ({_count(facts.calls, 'call')})",
        "raise the scope or set an override with a reason",
    )
    causes = tuple(_causes(use, facts, slow=seconds > 1 >= tokens, heavy=tokens > 1)) or (larger,)
    *others, last = [cause for cause, _ in causes[:3]]
    why = f"{', '.join(others)} and {last}" if others else last
    spent = f"{percent(tokens)}% of its tokens ({use.tokens:,} of {limit.tokens:,}) and {percent(seconds)}% of its time"
    return f"{use.kind} used {spent}, likely because {why}: {causes[0][1]}."


def _causes(use: Use, facts: Facts, *, slow: bool, heavy: bool) -> Iterable[tuple[str, str]]:
    if slow:
        yield "checks or the vendor were slow", "look at the slowest check before you raise the time limit"
    if facts.lost:
        yield f"{_count(facts.lost, 'call')} had no known outcome", "look for a vendor outage, since lost calls count in full"
    if facts.unusable:
        yield f"{_count(facts.unusable, 'answer')} could not be read", "choose a stronger model for this kind"
    if use.attempts > 1:
        yield f"it took {use.attempts} attempts", "see why the earlier attempts failed before you add budget"
    if heavy and facts.first_input and facts.last_input >= 3 * facts.first_input:
        growth = f"the context grew from {facts.first_input:,} to {facts.last_input:,} tokens"
        yield growth, "split the task or name the files it is about"
    if heavy and facts.turns > 10:
        yield f"it took {facts.turns} turns", "split the task or name the files it is about"
    if use.estimated:
        yield "the vendor sent no usage and tokens were estimated", "compare with the vendor's bill"


def standing(
    rules: Rules,
    limits: Sequence[Limit],
    uses: Sequence[Use],
    *,
    importance: str,
    remaining: Iterable[str] = (),
    granted: int = 0,
    critical_approved: bool = False,
) -> Standing:
    """Whether a task or tier may go on. `remaining` are the kinds still to run, `granted` the audited overrides so far."""
    if not limits:
        raise BugError("a task without limits has no standing")
    mine = {one.kind: one for one in limits}
    kinds = by_kind(uses)
    left = frozenset(remaining)
    allowed = (1 + granted) * sum(one.tokens for one in limits)
    spent = sum(use.tokens for use in kinds)
    used, coming = Fraction(spent, allowed), Fraction(spent + _to_come(mine, kinds, left), allowed)
    if importance == "critical" and critical_approved:
        would, reasons, post_mortem = _graduated(used)
    else:
        would, reasons = _stop_loss(rules.thresholds, used, coming, near_done=left <= COSTS_NOTHING)
        post_mortem = False
    warnings = _warnings(rules, mine, kinds, (1 + granted) * sum(one.seconds for one in limits))
    would = "warn" if would == "go" and warnings else would
    reasons += warnings
    action: Action = would if would != "block" or rules.enforced(importance) else "warn"
    if action != would:
        reasons += (f"not stopped, since limits are only observed for {importance} importance",)
    text = f"{percent(used)}% of the token limits used ({spent:,} of {allowed:,})"
    return Standing(action, would, allowed, percent(used), percent(coming), post_mortem, "; ".join((text, *reasons)), reasons)


def _to_come(limits: Mapping[str, Limit], kinds: Iterable[Use], left: Iterable[str]) -> int:
    """What the limits of the kinds that are left still allow, which for a kind that runs again is the rest of its limit."""
    used = {use.kind: use.tokens for use in kinds}
    return sum(max(limits[kind].tokens - used.get(kind, 0), 0) for kind in left if kind in limits)


def _stop_loss(given: Thresholds, used: Fraction, coming: Fraction, *, near_done: bool) -> tuple[Action, tuple[str, ...]]:
    stop = Fraction(given.stop_loss)
    offer = "`/ostler budget +2 <reason>` lets it go on"
    if used > stop:
        return "block", (f"over the stop-loss of {percent(stop)}%: {offer}",)
    if near_done and used <= Fraction(given.near_done):
        over = used > Fraction(given.warning) or coming > stop
        return ("warn", ("almost done, so delivery goes on",)) if over else ("go", ())
    if coming > stop:
        return "block", (
            f"with what is left, {percent(coming)}% is to be expected, over the stop-loss of {percent(stop)}%: {offer}",
        )
    return (
        ("warn", (f"over the limits, and below the stop-loss of {percent(stop)}%",))
        if used > Fraction(given.warning)
        else ("go", ())
    )


def _graduated(used: Fraction) -> tuple[Action, tuple[str, ...], bool]:
    """The stop-loss of a critical task that was approved as such."""
    warn, account, stop = CRITICAL_LADDER
    if used > stop:
        return "block", (f"over {percent(stop)}%, where approved critical work is stopped as well",), True
    if used > account:
        return "warn", (f"over {percent(account)}%: critical work goes on and owes a post-mortem",), True
    return ("warn", (f"over {percent(warn)}%: critical work goes on",), False) if used > warn else ("go", (), False)


def _warnings(rules: Rules, limits: Mapping[str, Limit], kinds: Sequence[Use], seconds: int) -> tuple[str, ...]:
    time = Fraction(sum(use.active for use in kinds)) / seconds
    found = [f"{percent(time)}% of the active time used"] if time > Fraction(rules.thresholds.stop_loss) else []
    for use in kinds:
        limit = limits.get(use.kind)
        if limit is None:
            found.append(f"{use.kind} ran without a limit of its own")
        elif breach(use, limit, rules.thresholds) == "exceeded":
            found.append(f"{use.kind} used {percent(max(shares(use, limit)))}% of its limit")
    return tuple(found)


def percent(share: Fraction) -> int:
    """Rounded up, so that what is over a threshold also reads so."""
    return ceil(100 * share)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
