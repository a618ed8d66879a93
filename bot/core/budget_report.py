"""The budget report of a task as values: what `budget_report.md` shows and `budget_enforcement.json` holds.

Whole numbers and text only. Tokens and seconds are compared with limits, money with its cap; percents are rounded up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import ceil
from typing import Any, Literal

from bot.core.budget import Charge, Usage, dollars
from bot.core.forecast import Level, advice, level
from bot.core.limits import Limit, Rules
from bot.core.standing import COSTS_NOTHING, Breach, Facts, Standing, Use, breach, by_kind, explain, percent, shares

SCHEMA = 1
LITTLE = Fraction(1, 2)
"""A share of its limit below which a phase used so little that the limit or the scope may be wrong."""


@dataclass(frozen=True, slots=True)
class KindRow:
    """One kind: all its phases against its limit. A limit of 0 means that the kind had none and ran all the same."""

    kind: str
    phases: str
    status: Breach | Literal["Not Started", "no limit"]
    tokens: int
    tokens_limit: int
    tokens_percent: int
    seconds: int
    seconds_limit: int
    seconds_percent: int
    attempts: int
    estimated: bool


@dataclass(frozen=True, slots=True)
class OverrideRow:
    """An audited override: who set it, why, and the values before and after, such as `500,000 tokens` or `$2.00`."""

    what: str
    who: str
    why: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Spending:
    """The calls of one model for one role in one kind. Micro-dollars; `lost` of the calls have no known outcome."""

    model: str
    role: str
    kind: str
    calls: int
    lost: int
    input: int
    cached: int
    output: int
    amount: int


@dataclass(frozen=True, slots=True)
class Money:
    """Micro-dollars of the run. `iterations` are those that what is left pays for, None while that is not known."""

    spent: int
    cap: int
    level: Level
    iterations: int | None
    advice: str


@dataclass(frozen=True, slots=True)
class BudgetReport:
    """A task's budget. `headline` is the summary in three lines; `rules` the digest of the frozen rules."""

    task: str
    scope: str
    importance: str
    mode: str
    rules: str
    headline: tuple[str, str, str]
    standing: Standing
    tokens: int
    tokens_limit: int
    seconds: int
    seconds_limit: int
    money: Money
    rows: tuple[KindRow, ...]
    limits: tuple[Limit, ...]
    breaches: tuple[str, ...]
    anomalies: tuple[str, ...]
    warnings: tuple[str, ...]
    overrides: tuple[OverrideRow, ...]
    spending: tuple[Spending, ...]


def report(
    rules: Rules,
    limits: Sequence[Limit],
    uses: Sequence[Use],
    stands: Standing,
    *,
    task: str,
    scope: str,
    importance: str,
    spent: int,
    cap: int,
    iterations: int | None = None,
    charges: Iterable[Charge] = (),
    facts: Mapping[str, Facts] | None = None,
    overrides: Iterable[OverrideRow] = (),
) -> BudgetReport:
    """The report of a task, finished or not: a kind that did not run is `Not Started`. `facts` are by kind; `spent` and `cap` are
    micro-dollars."""
    kinds, known = by_kind(uses), {one.kind: one for one in limits}
    money = Money(spent, cap, level(spent, cap), iterations, advice(spent, cap, iterations, hint=rules.thresholds.hint))
    rows = _rows(rules, limits, kinds)
    held = [(use, known[use.kind]) for use in kinds if use.kind in known]
    breached = [(use, limit) for use, limit in held if breach(use, limit, rules.thresholds) != "within"]
    overrides = tuple(overrides)
    return BudgetReport(
        task=task,
        scope=scope,
        importance=importance,
        mode=rules.mode,
        rules=rules.digest,
        headline=_headline(stands, money, [use for use, _ in breached], kinds, overrides),
        standing=stands,
        tokens=sum(row.tokens for row in rows),
        tokens_limit=sum(one.tokens for one in limits),
        seconds=ceil(sum(use.active for use in kinds)),
        seconds_limit=sum(one.seconds for one in limits),
        money=money,
        rows=rows,
        limits=tuple(limits),
        breaches=tuple(explain(use, limit, (facts or {}).get(use.kind, Facts())) for use, limit in breached),
        anomalies=_anomalies(rules, held),
        warnings=_warnings(limits, uses),
        overrides=overrides,
        spending=spending(charges),
    )


def enforcement(made: BudgetReport) -> dict[str, Any]:
    """The report as a JSON object, with the version of its shape."""
    return {"schema_version": SCHEMA, **asdict(made)}


def _rows(rules: Rules, limits: Iterable[Limit], kinds: Sequence[Use]) -> tuple[KindRow, ...]:
    used = {use.kind: use for use in kinds}
    rows = []
    for limit in limits:
        use = used.pop(limit.kind, None)
        if use is None:
            rows.append(KindRow(limit.kind, "", "Not Started", 0, limit.tokens, 0, 0, limit.seconds, 0, 0, False))
            continue
        tokens, seconds = shares(use, limit)
        rows.append(
            _row(use, breach(use, limit, rules.thresholds), (limit.tokens, percent(tokens)), (limit.seconds, percent(seconds)))
        )
    return (*rows, *(_row(use, "no limit", (0, 0), (0, 0)) for use in used.values()))


def _row(use: Use, status: Breach | Literal["no limit"], tokens: tuple[int, int], seconds: tuple[int, int]) -> KindRow:
    return KindRow(use.kind, use.phase, status, use.tokens, *tokens, ceil(use.active), *seconds, use.attempts, use.estimated)


def _headline(
    stands: Standing, money: Money, breached: Sequence[Use], kinds: Sequence[Use], overrides: tuple[OverrideRow, ...]
) -> tuple[str, str, str]:
    """How it stands, what it cost, where the tokens went."""
    status = {"go": "Within its limits", "warn": "Goes on with a warning", "block": "Stopped at its limits"}[stands.action]
    cost = f"Money: {dollars(money.spent)} of {dollars(money.cap)}, {money.level}.{' ' if money.advice else ''}{money.advice}"
    total = sum(use.tokens for use in kinds)
    if not total:
        return f"{status}: {stands.text}.", cost, "No tokens were used."
    most = max(kinds, key=lambda use: use.tokens)
    over = f"over its limit: {', '.join(use.kind for use in breached)}" if breached else "no kind over its limit"
    by_hand = f", {len(overrides)} override{'s' if len(overrides) > 1 else ''}" if overrides else ""
    where = f"{most.kind} used the most, {percent(Fraction(most.tokens, total))}% of the tokens; {over}{by_hand}."
    return f"{status}: {stands.text}.", cost, where


def _anomalies(rules: Rules, held: Iterable[tuple[Use, Limit]]) -> tuple[str, ...]:
    """Kinds far above their limit and, of those that ask a model, far below."""
    found = []
    for use, limit in held:
        tokens, seconds = shares(use, limit)
        if max(tokens, seconds) > Fraction(rules.thresholds.exceeded):
            found.append(f"{use.kind}: {percent(max(tokens, seconds))}% of its limit")
        elif tokens < LITTLE and use.kind not in COSTS_NOTHING:
            found.append(f"{use.kind}: only {percent(tokens)}% of its limit")
    return tuple(found)


def _warnings(limits: Iterable[Limit], uses: Iterable[Use]) -> tuple[str, ...]:
    found = []
    for use in uses:
        if use.estimated:
            found.append(f"{use.phase} {use.kind}: the vendor sent no usage, so tokens are characters / 4")
        if not use.timed:
            found.append(f"{use.phase} {use.kind}: {use.seconds:g} s cannot be right and count as none")
    for limit in limits:
        if limit.lowered:
            found.append(
                f"{limit.kind}: the override ({limit.tokens:,} tokens, {limit.seconds:,} s) is below what is computed "
                f"({limit.computed_tokens:,} tokens, {limit.computed_seconds:,} s)"
            )
    return tuple(found)


def spending(charges: Iterable[Charge]) -> tuple[Spending, ...]:
    """By model, role and kind, in the order of first use."""
    groups: dict[tuple[str, str, str], list[Charge]] = {}
    for charge in charges:
        groups.setdefault((charge.model, charge.role, charge.kind), []).append(charge)
    return tuple(_spent(*key, mine) for key, mine in groups.items())


def _spent(model: str, role: str, kind: str, mine: Sequence[Charge]) -> Spending:
    usage = sum((charge.usage for charge in mine), Usage())
    lost, amount = sum(charge.lost for charge in mine), sum(charge.amount for charge in mine)
    return Spending(model, role, kind, len(mine), lost, usage.prompt - usage.cache_read, usage.cache_read, usage.output, amount)
