"""Limits of phases in tokens and active seconds: `ceil(base x complexity x importance x weight x multiplier)`.

Every number of the rules is an integer or an exact decimal. Products are made of fractions and rounded up once, so neither the
order of the factors nor the precision of decimals shows in a limit. The rules are frozen into the strategy; their digest stands
in every record that was made under them. Money is not counted here: `bot.core.budget` holds it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from math import ceil
from typing import Any, Literal

from bot.core.changeset import canonical
from bot.core.errors import BadInput
from bot.core.phases import Kind
from bot.core.selection import Scope

Mode = Literal["observe", "enforce", "optimize"]
MODES = ("observe", "enforce", "optimize")
IMPORTANCE = ("low", "medium", "high", "critical")
ALL = "all"
TOKENS_FACTOR, SECONDS_FACTOR = 64, 5
"""What `AGENT` has of `REFERENCE`: an agent reads files and runs tests where the reference asks one question."""


@dataclass(frozen=True, slots=True)
class KindBase:
    """What a phase of one kind may use in a medium task of medium importance, before its weight."""

    tokens: int
    seconds: int
    weight: Decimal


def _table(*rows: tuple[Kind, str, int, int]) -> tuple[tuple[str, KindBase], ...]:
    return tuple(sorted((str(kind), KindBase(tokens, seconds, Decimal(weight))) for kind, weight, tokens, seconds in rows))


REFERENCE = _table(
    (Kind.STRATEGIZE, "1.5", 3_000, 60),
    (Kind.SPEC, "1.0", 1_500, 40),
    (Kind.PLAN, "1.2", 2_000, 50),
    (Kind.THINK, "1.5", 4_000, 90),
    (Kind.IMPLEMENT, "1.0", 3_500, 120),
    (Kind.VERIFY, "0.8", 2_500, 60),
    (Kind.REVIEW, "1.0", 2_000, 50),
    (Kind.PR, "0.6", 1_500, 30),
    (Kind.MONITOR, "0.6", 1_000, 20),
)
AGENT = tuple(
    (kind, replace(base, tokens=base.tokens * TOKENS_FACTOR, seconds=base.seconds * SECONDS_FACTOR)) for kind, base in REFERENCE
)
COMPLEXITY = tuple((str(scope), Decimal(factor)) for scope, factor in zip(Scope, ("0.5", "0.8", "1.0", "1.5"), strict=True))
IMPORTANCE_FACTORS = tuple(
    (level, Decimal(factor)) for level, factor in zip(IMPORTANCE, ("0.7", "1.0", "1.5", "2.0"), strict=True)
)
TOKEN_CAP, ACTIVE_SECONDS, WORK_PHASES = 5_000_000, 120 * 60, 25
"""What a run may use where the configuration says nothing else."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Shares of a limit. `warning` and `exceeded` are of one phase, `stop_loss` and `near_done` of the sum of all limits,
    `hard_cap_factor` of the sum of a tier's limits, `hint` of the money."""

    warning: Decimal = Decimal("1.0")
    exceeded: Decimal = Decimal("1.5")
    stop_loss: Decimal = Decimal("1.2")
    near_done: Decimal = Decimal("1.1")
    hard_cap_factor: Decimal = Decimal(3)
    hint: Decimal = Decimal("0.7")


@dataclass(frozen=True, slots=True)
class Override:
    """Replaces the limit of `kind`, in the task `task` or in every task, and takes no factor. None leaves what is computed."""

    kind: str
    tokens: int | None
    seconds: int | None
    reason: str
    task: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """All numbers that limits come from.

    `enforce_for` names the levels of importance that are held to their limits, or `all`; for the others, and in mode `observe`,
    a breach is only reported.

    Raises:
        BadInput: a kind, scope or level is missing, or a number is out of its range.
    """

    mode: Mode = "enforce"
    enforce_for: tuple[str, ...] = (ALL,)
    multiplier: Decimal = Decimal("1.0")
    base: tuple[tuple[str, KindBase], ...] = AGENT
    complexity: tuple[tuple[str, Decimal], ...] = COMPLEXITY
    importance: tuple[tuple[str, Decimal], ...] = IMPORTANCE_FACTORS
    thresholds: Thresholds = field(default_factory=Thresholds)
    overrides: tuple[Override, ...] = ()

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise BadInput(f"budget.mode is {self.mode!r}: use observe, enforce or optimize.")
        if unknown := [level for level in self.enforce_for if level not in (ALL, *IMPORTANCE)]:
            raise BadInput(f"budget.enforce_for names {unknown[0]!r}: use {', '.join(IMPORTANCE)} or all.")
        _names("kinds", (name for name, _ in self.base), Kind)
        _names("budget.complexity", (name for name, _ in self.complexity), Scope)
        _names("budget.importance", (name for name, _ in self.importance), IMPORTANCE)
        _factor("budget.multiplier", self.multiplier)
        for name, base in self.base:
            _whole(f"kinds.{name}.tokens", base.tokens)
            _whole(f"kinds.{name}.seconds", base.seconds)
            _factor(f"kinds.{name}.weight", base.weight)
        for table, factors in (("complexity", self.complexity), ("importance", self.importance)):
            for name, factor in factors:
                _factor(f"budget.{table}.{name}", factor)
        _check_thresholds(self.thresholds)
        _check_overrides(self.overrides)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that are the same for the same numbers, however they are written or ordered."""
        value = asdict(self) | {key: dict(getattr(self, key)) for key in ("complexity", "importance")}
        value["base"] = {name: asdict(base) for name, base in self.base}
        value["enforce_for"] = sorted(self.enforce_for)
        value["overrides"] = sorted((asdict(override) for override in self.overrides), key=lambda o: (o["kind"], o["task"]))
        return hashlib.sha256(canonical(_plain(value))).hexdigest()[:16]

    def enforced(self, importance: str) -> bool:
        """Whether tasks of `importance` are stopped, and not only told, at a breach."""
        return self.mode != "observe" and (ALL in self.enforce_for or importance in self.enforce_for)

    def factor(self, scope: str, importance: str, kind: str) -> Fraction:
        """Complexity x importance x weight, exactly: what the base of `kind` is multiplied by, before the multiplier."""
        product = Fraction(1)
        for name, table, key in (("scope", self.complexity, scope), ("importance", self.importance, importance)):
            product *= Fraction(_found(name, dict(table), key))
        return product * Fraction(_found("kind", dict(self.base), kind).weight)


@dataclass(frozen=True, slots=True)
class Limit:
    """What the phases of one kind may use together, and how it came about. An override has a reason."""

    kind: str
    tokens: int
    seconds: int
    how: str
    computed_tokens: int
    computed_seconds: int
    override_reason: str = ""

    @property
    def lowered(self) -> bool:
        """Whether an override is below what the formula gives: it holds, and is warned of."""
        return bool(self.override_reason) and (self.tokens < self.computed_tokens or self.seconds < self.computed_seconds)


def limit(rules: Rules, kind: str, scope: str, importance: str, *, task: str = "") -> Limit:
    """The limit of `kind` in a task of `scope` and `importance`. An override for this very task goes before one for all.

    Raises:
        BadInput: no such kind, scope or importance.
    """
    product = rules.factor(scope, importance, kind) * Fraction(rules.multiplier)
    base = dict(rules.base)[kind]
    tokens, seconds = ceil(base.tokens * product), ceil(base.seconds * product)
    factors = [dict(rules.complexity)[scope], dict(rules.importance)[importance], base.weight]
    factors += [rules.multiplier] if rules.multiplier != 1 else []
    how = " x ".join((f"{base.tokens:,}", *(f"{factor:f}" for factor in factors)))
    for override in sorted(rules.overrides, key=lambda o: not o.task):
        if override.kind == kind and override.task in ("", task):
            set_tokens = tokens if override.tokens is None else override.tokens
            set_seconds = seconds if override.seconds is None else override.seconds
            return Limit(kind, set_tokens, set_seconds, f"set by hand; computed: {how}", tokens, seconds, override.reason)
    return Limit(kind, tokens, seconds, how, tokens, seconds)


def task_limits(
    rules: Rules, kinds: Iterable[str], scope: str, importance: str, *, task: str = "", token_cap: int | None = None
) -> tuple[Limit, ...]:
    """The limits of a task's kinds, each kind once: a phase that runs again counts against the same limit.

    Where what is computed for them is together above `token_cap` (the cap of the task's category), the computed limits shrink
    in proportion until it is not. An override stays as it was set.

    Raises:
        BadInput: no such kind, scope or importance, or a cap of less than one token for each kind.
    """
    found = tuple(limit(rules, kind, scope, importance, task=task) for kind in dict.fromkeys(kinds))
    total = sum(one.computed_tokens for one in found)
    if token_cap is None or total <= token_cap:
        return found
    if token_cap < len(found):
        raise BadInput(f"A token cap of {token_cap:,} leaves nothing for {len(found)} phases: raise it.")
    return tuple(one if one.override_reason else _shrunk(one, token_cap, total, len(found)) for one in found)


def _shrunk(one: Limit, cap: int, total: int, n: int) -> Limit:
    """A share of `cap`, rounded down, of at least one token."""
    tokens = 1 + (one.tokens - 1) * (cap - n) // (total - n)
    return replace(one, tokens=tokens, how=f"{one.how}, then x {cap:,} / {total:,} for the cap of the category")


@dataclass(frozen=True, slots=True)
class RunCaps:
    """Where a run stops before its next call, whatever its limits say. `tier_tokens` is a tier's own cap."""

    tokens: int
    seconds: int
    work_phases: int
    tier_tokens: int


def run_caps(
    rules: Rules,
    limits: Iterable[Limit],
    *,
    tokens: int = TOKEN_CAP,
    seconds: int = ACTIVE_SECONDS,
    work_phases: int = WORK_PHASES,
    granted: int = 0,
) -> RunCaps:
    """The caps of a run, and of the tier whose phases have `limits`. Each of the `granted` audited overrides adds to the
    tier's cap what it adds to the stop-loss: the limits once more."""
    total = sum(one.tokens for one in limits) * (1 + granted)
    return RunCaps(tokens, seconds, work_phases, ceil(Fraction(rules.thresholds.hard_cap_factor) * total))


def over(caps: RunCaps, *, tokens: int, tier_tokens: int | None, seconds: float, work_phases: int, needed: int = 0) -> str:
    """Which cap is in the way of a call that may use `needed` tokens, in one sentence; empty if none is.

    `tokens` and `seconds` are what the run has used, `tier_tokens` what its tier has (None: that cap does not hold),
    `work_phases` how many work phases are planned or were run.
    """
    for used, cap, whose in ((tokens, caps.tokens, "run"), (tier_tokens, caps.tier_tokens, "tier")):
        if used is not None and (used >= cap or used + needed > cap):
            next_ = f" and the next call may use {needed:,}" if needed else ""
            return f"The {whose}'s cap of {cap:,} tokens is reached: {used:,} are used{next_}."
    if seconds >= caps.seconds:
        return f"The run's cap of {caps.seconds // 60} active minutes is reached."
    if work_phases > caps.work_phases:
        return f"The run has {work_phases} work phases, and its cap is {caps.work_phases}: ask for less at once."
    return ""


# --- what rules refuse ------------------------------------------------------------------------------------------------


def _found(what: str, table: Mapping[str, Any], key: str) -> Any:
    if key not in table:
        raise BadInput(f"There is no {what} {key!r}: use {', '.join(table)}.")
    return table[key]


def _names(where: str, given: Iterable[str], wanted: Iterable[str]) -> None:
    given, wanted = tuple(given), tuple(wanted)
    if missing := [name for name in wanted if name not in given]:
        raise BadInput(f"{where} lacks {missing[0]}: give all of {', '.join(wanted)}.")
    if len(given) != len(wanted):
        extra = next(name for n, name in enumerate(given) if name not in wanted or name in given[:n])
        raise BadInput(f"{where} has {extra} too much: give each of {', '.join(wanted)} once.")


def _whole(where: str, value: int) -> None:
    if type(value) is not int or value <= 0:
        raise BadInput(f"{where} is {value}: give a whole number above 0.")


def _factor(where: str, value: Decimal) -> None:
    if not value.is_finite() or not 0 < value <= 10:
        raise BadInput(f"{where} is {value}: give a number above 0 and at most 10.")


def _check_thresholds(given: Thresholds) -> None:
    for name in ("exceeded", "stop_loss", "near_done", "hard_cap_factor"):
        value: Decimal = getattr(given, name)
        if not value.is_finite() or value <= 1:
            raise BadInput(f"budget.thresholds.{name} is {value}: give a number above 1.")
    for name, highest in (("warning", given.exceeded), ("hint", Decimal(1))):
        value = getattr(given, name)
        if not value.is_finite() or not 0 < value <= highest:
            raise BadInput(f"budget.thresholds.{name} is {value}: give a number above 0 and at most {highest}.")


def _check_overrides(overrides: tuple[Override, ...]) -> None:
    for override in overrides:
        where = f"budget.overrides for {override.kind}"
        if override.kind not in tuple(Kind):
            raise BadInput(f"budget.overrides names the kind {override.kind!r}: use {', '.join(Kind)}.")
        if not override.reason.strip():
            raise BadInput(f"{where} has no reason: say why.")
        if override.tokens is None and override.seconds is None:
            raise BadInput(f"{where} sets nothing: give tokens or seconds.")
        for name, value in (("tokens", override.tokens), ("seconds", override.seconds)):
            if value is not None:
                _whole(f"{where}: {name}", value)
    pairs = [(override.kind, override.task) for override in overrides]
    if twice := [kind for n, (kind, task) in enumerate(pairs) if (kind, task) in pairs[:n]]:
        raise BadInput(f"budget.overrides has two entries for {twice[0]} in the same task: keep one.")


def _plain(value: Any) -> Any:
    """Decimals as their shortest text, so that 1.0 and 1 are one number."""
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
