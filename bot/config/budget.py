"""Money, tokens and time: what a run may use, what runs share, what a result is worth."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, StrictInt

from bot.config.base import Above, Dollars, Factor, Part, Share
from bot.core.limits import ACTIVE_SECONDS, COMPLEXITY, IMPORTANCE_FACTORS, TOKEN_CAP, WORK_PHASES, Thresholds
from bot.core.pacing import Breaker, Bucket
from bot.core.phases import Kind

MOST_TOKENS, MOST_SECONDS = 1_000_000_000, 7 * 24 * 3600
_SHIPPED = Thresholds()


class BudgetThresholds(Part):
    """Shares at which a budget warns and stops; see `bot.core.limits.Thresholds`."""

    warning: Share = _SHIPPED.warning
    exceeded: Above = _SHIPPED.exceeded
    stop_loss: Above = _SHIPPED.stop_loss
    near_done: Above = _SHIPPED.near_done
    hard_cap_factor: Above = _SHIPPED.hard_cap_factor
    hint: Annotated[Decimal, Field(gt=0, le=1)] = _SHIPPED.hint


class BudgetOverride(Part):
    """The limit of one kind of phase, set by hand, and why."""

    kind: Kind
    tokens: Annotated[StrictInt, Field(gt=0, le=MOST_TOKENS)] | None = None
    seconds: Annotated[StrictInt, Field(gt=0, le=MOST_SECONDS)] | None = None
    reason: Annotated[str, Field(min_length=1, max_length=500)]
    task: str = ""


class Complexity(Part):
    """What a task's scope makes of a limit."""

    Tiny: Factor = dict(COMPLEXITY)["Tiny"]
    Small: Factor = dict(COMPLEXITY)["Small"]
    Medium: Factor = dict(COMPLEXITY)["Medium"]
    Large: Factor = dict(COMPLEXITY)["Large"]


class Importance(Part):
    """What a task's importance makes of a limit."""

    low: Factor = dict(IMPORTANCE_FACTORS)["low"]
    medium: Factor = dict(IMPORTANCE_FACTORS)["medium"]
    high: Factor = dict(IMPORTANCE_FACTORS)["high"]
    critical: Factor = dict(IMPORTANCE_FACTORS)["critical"]


class Budget(Part):
    """Dollars: the cap of a run (`money`), of one call, of all runs of a session, and of all runs of this repository in a day
    (UTC). `ci_minute` is what a minute of a runner costs: nothing in public repositories. The rest bounds tokens and time of
    each phase."""

    money: Dollars = Decimal(2)
    call: Dollars | None = None
    session: Dollars | None = None
    day: Dollars | None = None
    ci_minute: Annotated[Decimal, Field(ge=0, le=1, allow_inf_nan=False)] = Decimal(0)
    mode: Literal["observe", "enforce", "optimize"] = "enforce"
    enforce_for: tuple[Literal["low", "medium", "high", "critical", "all"], ...] = ("all",)
    multiplier: Factor = Decimal("1.0")
    base: Literal["agent", "reference"] = "agent"
    complexity: Complexity = Complexity()
    importance: Importance = Importance()
    thresholds: BudgetThresholds = BudgetThresholds()
    overrides: tuple[BudgetOverride, ...] = ()


class KindLimit(Part):
    """The base limits of one kind of phase, and its weight; what is left out is as shipped."""

    tokens: Annotated[StrictInt, Field(gt=0, le=MOST_TOKENS)] | None = None
    seconds: Annotated[StrictInt, Field(gt=0, le=MOST_SECONDS)] | None = None
    weight: Factor | None = None


class RunLimits(Part):
    """Where a run stops, whatever its phases' limits say."""

    token_cap: Annotated[int, Field(gt=0, le=MOST_TOKENS)] = TOKEN_CAP
    max_minutes: Annotated[int, Field(gt=0, le=24 * 60)] = ACTIVE_SECONDS // 60
    max_phases: Annotated[int, Field(gt=0, le=100)] = WORK_PHASES


class Quota(Part):
    """Tokens of one vendor that this repository may use in a week (ISO 8601)."""

    weekly_tokens: Annotated[int, Field(gt=0, le=10**12)]


class Quotas(Part):
    """Quotas of the vendors. Past the share `soft` work that is not of high risk goes to another vendor."""

    anthropic: Quota | None = None
    openai: Quota | None = None
    soft: Annotated[float, Field(gt=0, le=1)] = 0.8


class Value(Part):
    """Dollars: what a right pull request is worth, and what a wrong one costs."""

    right: Dollars = Decimal(25)
    wrong: Dollars = Decimal(10)


class Routing(Part):
    """How the builder's class is chosen. `aggressive` begins all but high-risk work in the fast class."""

    escalate_after: Annotated[int, Field(ge=1, le=5)] = 2
    aggressive: bool = False
    value: Value = Value()
    labels: dict[str, Value] = Field(default={})


class RateLimits(Part):
    """Calls in a minute, of all runs of this machine together."""

    anthropic: Annotated[int, Field(ge=1, le=10_000)] = 40
    openai: Annotated[int, Field(ge=1, le=10_000)] = 100

    def buckets(self) -> dict[str, Bucket]:
        return {vendor: Bucket(getattr(self, vendor)) for vendor in ("anthropic", "openai")}


class BreakerLimits(Part):
    """When a vendor that fails is left alone, and for how long (seconds)."""

    failures: Annotated[int, Field(ge=1, le=100)] = 3
    successes: Annotated[int, Field(ge=1, le=50)] = 1
    seconds: Annotated[int, Field(ge=1, le=3600)] = 120

    def breaker(self) -> Breaker:
        return Breaker(self.failures, self.successes, self.seconds)
