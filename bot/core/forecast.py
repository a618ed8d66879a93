"""What a run will cost, from what runs like it did: always a range, never one number.

Costs of runs are close to log-normal. Up to nine earlier runs, the bound that nine of ten runs stay under is the prediction
limit of a normal sample of their logarithms, `exp(m + t * s * sqrt(1 + 1/n))` with the 0.9 quantile of Student's t with n - 1
degrees of freedom (Hahn, "Factors for calculating two-sided prediction intervals", JASA 64, 1969, one-sided here). From ten on
it is the split-conformal order statistic, the ceil(0.9 (n + 1))-th smallest (Lei et al., "Distribution-free predictive
inference for regression", JASA 113, 2018), which assumes nothing about the distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil, exp, log, sqrt
from typing import Literal

from bot.core.budget import MICRO, dollars

FEWEST, CONFORMAL_FROM = 3, 10
T_90 = {2: 1.885618, 3: 1.637744, 4: 1.533206, 5: 1.475884, 6: 1.439756, 7: 1.414924, 8: 1.396815}
"""0.9 quantile of Student's t by degrees of freedom; to three digits as in the NIST/SEMATECH e-Handbook, section 1.3.6.7.2."""

Level = Literal["SAFE", "WARNING", "CRITICAL", "EXCEEDED"]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Whole cost of a run in micro-dollars: half of runs like it cost at most `p50`, nine of ten at most `p90`.

    Neither is below what is spent. With fewer than three earlier runs the method is `none` and both are what is spent. `n` is
    the number of earlier runs.
    """

    p50: int
    p90: int
    n: int
    method: Literal["log-normal-t", "conformal", "none"]
    text: str


def forecast(past: Sequence[int], *, spent: int, cap: int) -> Forecast:
    """The range a run will end in, from the costs of finished runs like it, all in micro-dollars.

    Runs that cost nothing asked no model and are not like one that does. A range that reaches above `cap` says so: the cap stops
    the run there.
    """
    paid = sorted(cost for cost in past if cost > 0)
    n = len(paid)
    if n < FEWEST:
        return Forecast(spent, spent, n, "none", "not known yet: fewer than 3 finished runs like this one")
    method: Literal["log-normal-t", "conformal"] = "conformal" if n >= CONFORMAL_FROM else "log-normal-t"
    half, most = _ordered(paid) if n >= CONFORMAL_FROM else _log_normal(paid)
    text = _text(half, most, n, spent) + (f"; the cap of {dollars(cap)} would stop it first" if max(most, spent) > cap else "")
    return Forecast(max(half, spent), max(most, spent), n, method, text)


def _ordered(paid: list[int]) -> tuple[int, int]:
    n = len(paid)
    return paid[ceil(Fraction(n + 1, 2)) - 1], paid[ceil(Fraction(9 * (n + 1), 10)) - 1]


def _log_normal(paid: list[int]) -> tuple[int, int]:
    n = len(paid)
    logs = [log(cost) for cost in paid]
    mean = sum(logs) / n
    deviation = sqrt(sum((x - mean) ** 2 for x in logs) / (n - 1))
    return ceil(exp(mean)), ceil(exp(mean + T_90[n - 1] * deviation * sqrt(1 + 1 / n)))


def _text(half: int, most: int, n: int, spent: int) -> str:
    runs = f"{n} runs"
    if spent >= most:
        return f"more than the {dollars(spent)} spent so far; nine of ten similar runs cost less than {dollars(most)} ({runs})"
    if spent > half:
        meaning = "the first is spent, nine of ten similar runs cost less than the second"
    else:
        meaning = "half of similar runs cost less than the first, nine of ten less than the second"
    return f"{dollars(max(half, spent))} to {dollars(most)} ({meaning}; {runs})"


def iterations_left(costs: Sequence[int], left: int) -> int | None:
    """How many more iterations (one IMPLEMENT and the VERIFY after it, with all their calls) `left` micro-dollars pay for at
    the mean of `costs`; None before one of them cost anything."""
    total = sum(costs)
    return max(left, 0) * len(costs) // total if total > 0 else None


def budget_line(spent: int, cap: int, iterations: int | None) -> str:
    """`Budget: 35% used ($3.50/$10.00) - ~15 iterations remaining`; amounts in micro-dollars."""
    left = "iterations remaining not known yet" if iterations is None else f"~{iterations} iterations remaining"
    return f"Budget: {_percent(spent, cap)}% used (${spent / MICRO:.2f}/${cap / MICRO:.2f}) - {left}"


def level(spent: int, cap: int) -> Level:
    """How full a budget is: below 50 %, below 80 %, below 100 %, or used up. One without any use is SAFE."""
    if spent <= 0:
        return "SAFE"
    percent = _percent(spent, cap)
    return "SAFE" if percent < 50 else "WARNING" if percent < 80 else "CRITICAL" if percent < 100 else "EXCEEDED"


def advice(spent: int, cap: int, iterations: int | None, *, hint: Decimal) -> str:
    """What to do about a budget, in one sentence; empty while nothing needs doing. `hint` is a share, such as 0.7."""
    now = level(spent, cap)
    if now == "EXCEEDED":
        return "The budget is used up: raise it to go on."
    if now == "CRITICAL" and iterations is not None and iterations < 3:
        return "Fewer than 3 iterations are left: raise the budget or use a cheaper model."
    if spent > 0 and spent >= Fraction(hint) * cap:
        return "Most of the budget is used: a cheaper model would make it last."
    return ""


def _percent(spent: int, cap: int) -> int:
    return 100 * spent // cap if cap > 0 else 100 if spent > 0 else 0
