"""Forecasts: a range and never one number, with the coverage it claims; and what is left, in iterations."""

from __future__ import annotations

import math
import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.forecast import T_90, advice, budget_line, forecast, iterations_left, level

costs = st.lists(st.integers(0, 10**10), max_size=30)
money = st.integers(0, 10**10)
HINT = Decimal("0.7")


def student_cdf(t: float, df: int) -> float:
    """By Simpson's rule over the density."""
    scale: float = math.gamma((df + 1) / 2) / (math.sqrt(df * math.pi) * math.gamma(df / 2))
    steps, width = 2_000, t / 2_000
    density: list[float] = [scale * (1 + (i * width) ** 2 / df) ** (-(df + 1) / 2.0) for i in range(steps + 1)]
    return 0.5 + width / 3 * (density[0] + density[-1] + 4 * sum(density[1:-1:2]) + 2 * sum(density[2:-1:2]))


@pytest.mark.parametrize("df", range(2, 9))
def test_the_quantiles_are_those_of_students_distribution(df: int) -> None:
    assert student_cdf(T_90[df], df) == pytest.approx(0.9, abs=1e-6)


@pytest.mark.parametrize(("n", "sigma"), [(3, 0.4), (5, 0.9), (9, 0.6), (10, 0.6), (20, 0.9), (30, 0.4)])
def test_nine_of_ten_new_runs_cost_at_most_the_upper_figure(n: int, sigma: float) -> None:
    """5,000 seeded draws: the error of the share is below half a percent. Order statistics cover a little more than 90 %."""
    chance = random.Random(n)
    below, half = 0, 0
    for _ in range(5_000):
        *past, new = (round(math.exp(chance.gauss(12, sigma))) for _ in range(n + 1))
        made = forecast(past, spent=0, cap=10**9)
        below += new <= made.p90
        half += new <= made.p50
    most = math.ceil(0.9 * (n + 1)) / (n + 1) if n >= 10 else 0.9
    assert most - 0.015 <= below / 5_000 <= most + 0.015
    assert 0.47 <= half / 5_000 <= 0.57


@given(costs, money, money)
def test_a_forecast_is_a_range_above_what_is_spent(past: list[int], spent: int, cap: int) -> None:
    made = forecast(past, spent=spent, cap=cap)
    paid = [cost for cost in past if cost]
    assert spent <= made.p50 <= made.p90
    assert made.n == len(paid)
    if len(paid) < 3:
        assert (made.method, made.p50, made.p90) == ("none", spent, spent)
        assert made.text == "not known yet: fewer than 3 finished runs like this one"
        return
    assert made.method == ("log-normal-t" if len(paid) < 10 else "conformal")
    assert f"{len(paid)} runs" in made.text
    assert ("would stop it first" in made.text) == (made.p90 > cap)


@given(costs.filter(lambda past: sum(1 for cost in past if cost) >= 10))
def test_from_ten_runs_on_both_figures_are_costs_that_were_seen(past: list[int]) -> None:
    made = forecast(past, spent=0, cap=10**12)
    assert made.p50 in past
    assert made.p90 in past
    assert sum(cost <= made.p90 for cost in past if cost) >= 0.9 * (made.n + 1) - 1e-9


@given(costs, st.integers(2, 9))
def test_the_order_of_earlier_runs_does_not_matter_and_dearer_ones_forecast_more(past: list[int], factor: int) -> None:
    made = forecast(past, spent=0, cap=10**12)
    assert forecast(past[::-1], spent=0, cap=10**12) == made
    assert forecast([cost * factor for cost in past], spent=0, cap=10**12).p90 >= made.p90


SEVEN = [110_000, 90_000, 130_000, 200_000, 60_000, 120_000, 150_000]


@pytest.mark.parametrize(
    ("spent", "said"),
    [
        (0, "$0.1157 to $0.2086 (half of similar runs cost less than the first, nine of ten less than the second; 7 runs)"),
        (140_000, "$0.14 to $0.2086 (the first is spent, nine of ten similar runs cost less than the second; 7 runs)"),
        (300_000, "more than the $0.30 spent so far; nine of ten similar runs cost less than $0.2086 (7 runs)"),
    ],
)
def test_it_reads_as_a_range(spent: int, said: str) -> None:
    assert forecast(SEVEN, spent=spent, cap=1_000_000).text == said


def test_a_range_above_the_cap_says_so() -> None:
    assert forecast(SEVEN, spent=0, cap=200_000).text.endswith("; the cap of $0.20 would stop it first")


# --- what is left -----------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**7), max_size=20), st.integers(-(10**8), 10**8))
def test_iterations_left_are_what_the_mean_pays_for(spent_on: list[int], left: int) -> None:
    made = iterations_left(spent_on, left)
    if not sum(spent_on):
        assert made is None
    else:
        assert made is not None
        assert made * sum(spent_on) <= max(left, 0) * len(spent_on) < (made + 1) * sum(spent_on)


def test_the_budget_line() -> None:
    assert budget_line(3_500_000, 10_000_000, 15) == "Budget: 35% used ($3.50/$10.00) - ~15 iterations remaining"
    assert budget_line(0, 10_000_000, iterations_left((), 10_000_000)) == (
        "Budget: 0% used ($0.00/$10.00) - iterations remaining not known yet"
    )


@pytest.mark.parametrize(
    ("spent", "cap", "now"),
    [
        (0, 100, "SAFE"), (0, 0, "SAFE"), (49, 100, "SAFE"), (50, 100, "WARNING"), (79, 100, "WARNING"), (80, 100, "CRITICAL"),
        (99, 100, "CRITICAL"), (100, 100, "EXCEEDED"), (130, 100, "EXCEEDED"), (1, 0, "EXCEEDED"),
    ],
)  # fmt: skip
def test_levels(spent: int, cap: int, now: str) -> None:
    assert level(spent, cap) == now


@given(money, money, st.none() | st.integers(0, 10))
def test_advice_comes_with_the_level(spent: int, cap: int, iterations: int | None) -> None:
    said = advice(spent, cap, iterations, hint=HINT)
    if level(spent, cap) == "EXCEEDED":
        assert "raise it" in said
    elif level(spent, cap) == "CRITICAL":
        assert "cheaper model" in said
        assert ("raise the budget" in said) == (iterations is not None and iterations < 3)
    else:
        assert bool(said) == (spent > 0 and spent * 10 >= cap * 7)


def test_a_fresh_budget_needs_no_advice() -> None:
    assert advice(0, 0, None, hint=HINT) == advice(0, 100, None, hint=HINT) == ""
