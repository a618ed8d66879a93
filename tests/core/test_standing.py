"""The stop-loss: never milder for more use, never stricter for an override, blind to how often a phase ran."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import BugError
from bot.core.limits import Limit, Rules, Thresholds
from bot.core.phases import Kind
from bot.core.standing import Facts, Standing, Use, breach, by_kind, explain, standing

RULES = Rules()
LIMITS = tuple(Limit(kind, 1_000, 100, "1,000", 1_000, 100) for kind in ("PLAN", "IMPLEMENT", "VERIFY", "REVIEW", "PR"))
"""5,000 tokens and 500 seconds in all."""
LOOSE = replace(RULES, thresholds=Thresholds(exceeded=Decimal(9)))
"""Single phases may use nine times their limits, so that only the sums speak."""
MILD_TO_STRICT = ("go", "warn", "block")

kinds = st.sampled_from([one.kind for one in LIMITS])
uses = st.lists(st.builds(Use, st.just("P1"), kinds, st.integers(0, 4_000), st.floats(-10, 100_000), st.booleans()), max_size=8)
lefts = st.lists(kinds, max_size=3)
levels = st.sampled_from(["low", "medium", "high", "critical"])


def stands(
    used: list[Use] | int,
    *,
    rules: Rules = RULES,
    importance: str = "medium",
    left: tuple[str, ...] | list[str] = (),
    granted: int = 0,
    approved: bool = False,
) -> Standing:
    """With one number: so many tokens in all, with no phase far above the others."""
    if isinstance(used, int):
        used = [Use(f"P{n}", one.kind, used // 5 + (n < used % 5), 1.0) for n, one in enumerate(LIMITS)]
    return standing(rules, LIMITS, used, importance=importance, remaining=left, granted=granted, critical_approved=approved)


@given(uses, lefts, levels, st.integers(0, 3), st.booleans(), kinds, st.integers(0, 5_000))
def test_more_use_is_never_judged_milder(
    used: list[Use], left: list[str], level: str, granted: int, approved: bool, kind: str, more: int
) -> None:
    before = stands(used, left=left, importance=level, granted=granted, approved=approved)
    after = stands([*used, Use("P9", kind, more, 0.0)], left=left, importance=level, granted=granted, approved=approved)
    assert MILD_TO_STRICT.index(before.action) <= MILD_TO_STRICT.index(after.action)
    assert before.cumulative_percent <= after.cumulative_percent
    assert before.forecast_percent <= after.forecast_percent


@given(uses, lefts, levels, st.integers(0, 3), st.booleans())
def test_an_override_is_never_judged_stricter(used: list[Use], left: list[str], level: str, granted: int, approved: bool) -> None:
    before = stands(used, left=left, importance=level, granted=granted, approved=approved)
    after = stands(used, left=left, importance=level, granted=granted + 1, approved=approved)
    assert MILD_TO_STRICT.index(after.action) <= MILD_TO_STRICT.index(before.action)


@given(uses, lefts, levels, st.integers(1, 5))
def test_a_phase_that_runs_again_counts_against_the_same_limit(used: list[Use], left: list[str], level: str, parts: int) -> None:
    """The same tokens in one phase or in several of its kind: only the seconds of a broken clock differ."""
    clean = [replace(use, seconds=use.active / 100) for use in used]
    split = [replace(use, tokens=use.tokens // parts + (n < use.tokens % parts)) for use in clean for n in range(parts)]
    split = [replace(use, seconds=use.seconds if n % parts == 0 else 0.0) for n, use in enumerate(split)]
    assert stands(clean, left=left, importance=level) == stands(split, left=left, importance=level)


@given(uses, lefts, levels, st.booleans())
def test_observing_stops_nothing_and_says_what_would_have_been(
    used: list[Use], left: list[str], level: str, approved: bool
) -> None:
    enforced = stands(used, left=left, importance=level, approved=approved)
    observed = stands(used, rules=replace(RULES, mode="observe"), left=left, importance=level, approved=approved)
    assert enforced.would == enforced.action == observed.would
    assert observed.action == ("warn" if enforced.action == "block" else enforced.action)
    assert ("only observed" in observed.text) == (enforced.action == "block")
    assert stands(used, rules=replace(RULES, mode="optimize"), left=left, importance=level, approved=approved) == enforced


@given(uses, lefts)
def test_levels_that_are_not_enforced_are_observed(used: list[Use], left: list[str]) -> None:
    rules = replace(RULES, enforce_for=("low", "medium"))
    assert stands(used, rules=rules, left=left, importance="medium") == stands(used, left=left, importance="medium")
    assert stands(used, rules=rules, left=left, importance="high").action != "block"


@given(uses, lefts, levels, st.booleans())
def test_whatever_is_not_plainly_fine_has_a_reason(used: list[Use], left: list[str], level: str, approved: bool) -> None:
    made = stands(used, left=left, importance=level, approved=approved)
    assert (made.action == "go") == (not made.reasons)
    assert all(reason in made.text for reason in made.reasons)


@pytest.mark.parametrize(("tokens", "action"), [(5_000, "go"), (5_001, "warn"), (6_000, "warn"), (6_001, "block")])
def test_the_stop_loss_is_at_120_percent_and_one_token(tokens: int, action: str) -> None:
    made = stands(tokens)
    assert made.action == action
    assert (made.cumulative_percent > 120) == (action == "block")


@pytest.mark.parametrize(
    ("tokens", "granted", "action"),
    [(6_001, 0, "block"), (6_001, 1, "go"), (12_000, 1, "warn"), (12_001, 1, "block"), (12_001, 2, "go")],
)
def test_each_override_adds_the_limits_once_more(tokens: int, granted: int, action: str) -> None:
    assert stands(tokens, rules=LOOSE, granted=granted).action == action


def test_a_forecast_above_the_stop_loss_stops_at_the_next_verify_too() -> None:
    """PLAN used 1,000 more than it had, IMPLEMENT 500 more; what is left may use 3,000."""
    used = [Use("P1", "PLAN", 2_000, 1.0), Use("P2", "IMPLEMENT", 1_500, 1.0)]
    made = stands(used, left=("VERIFY", "REVIEW", "PR"))
    assert (made.action, made.cumulative_percent, made.forecast_percent) == ("block", 70, 130)
    assert "130% is to be expected" in made.text
    assert stands(used, left=("VERIFY", "REVIEW")).forecast_percent == 110
    assert stands(used, left=("VERIFY", "REVIEW")).action == "warn"


def test_a_kind_that_runs_again_is_expected_to_use_the_rest_of_its_limit() -> None:
    assert stands([Use("P1", "IMPLEMENT", 400, 1.0)], left=("IMPLEMENT",)).forecast_percent == 20
    assert stands([Use("P1", "IMPLEMENT", 1_400, 1.0)], left=("IMPLEMENT",)).forecast_percent == 28


@pytest.mark.parametrize(
    ("tokens", "left", "action"),
    [
        (5_500, ("PR", "MONITOR"), "warn"),
        (5_501, ("PR", "MONITOR"), "block"),
        (5_500, ("VERIFY", "PR"), "warn"),
        (5_500, ("REVIEW", "PR"), "block"),
        (5_000, ("VERIFY", "PR", "MONITOR"), "warn"),
    ],
)
def test_delivery_goes_on_when_almost_done_whatever_the_forecast(tokens: int, left: tuple[str, ...], action: str) -> None:
    """What REVIEW, VERIFY and PR may still use puts the forecast above the stop-loss."""
    used = [Use("P1", "PLAN", tokens // 2, 1.0), Use("P2", "IMPLEMENT", tokens - tokens // 2, 1.0)]
    made = stands(used, rules=LOOSE, left=left)
    assert made.forecast_percent >= 120
    assert made.action == action
    assert ("almost done" in made.text) == (action == "warn")


@pytest.mark.parametrize(
    ("tokens", "action", "post_mortem"),
    [(6_000, "go", False), (6_001, "warn", False), (7_500, "warn", False), (7_501, "warn", True), (10_000, "warn", True),
     (10_001, "block", True)],
)  # fmt: skip
def test_approved_critical_work_is_stopped_late(tokens: int, action: str, post_mortem: bool) -> None:
    made = stands(tokens, rules=LOOSE, importance="critical", approved=True)
    assert (made.action, made.post_mortem) == (action, post_mortem)
    assert stands(tokens, rules=LOOSE, importance="critical").action == stands(tokens, rules=LOOSE).action, "approval is needed"


def test_slow_work_warns_and_never_stops() -> None:
    made = stands([Use("P1", "VERIFY", 0, 601.0)])
    assert made.action == "warn"
    assert made.reasons == ("121% of the active time used", "VERIFY used 601% of its limit")


def test_a_kind_without_a_limit_counts_and_is_named() -> None:
    made = stands([Use("P1", "THINK", 6_001, 1.0)])
    assert made.action == "block"
    assert "THINK ran without a limit of its own" in made.text


def test_a_task_without_limits_is_no_task_within_its_limits() -> None:
    with pytest.raises(BugError, match="without limits"):
        standing(RULES, (), (), importance="low")


# --- one phase --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "seconds", "status"),
    [
        (1_000, 100.0, "within"), (1_001, 0.0, "warning"), (0, 100.5, "warning"), (1_500, 150.0, "warning"),
        (1_501, 0.0, "exceeded"), (0, 150.5, "exceeded"), (0, 90_000.0, "within"),
    ],
)  # fmt: skip
def test_the_larger_share_makes_the_breach(tokens: int, seconds: float, status: str) -> None:
    assert breach(Use("P1", "PLAN", tokens, seconds), LIMITS[0], RULES.thresholds) == status


@pytest.mark.parametrize("seconds", [-0.1, 86_400.5, inf, nan])
def test_a_clock_that_cannot_be_right_counts_as_no_time_and_is_flagged(seconds: float) -> None:
    use = Use("P1", "PLAN", 1, seconds)
    assert (use.active, use.timed) == (0.0, False)
    assert Use("P1", "PLAN", 1, 86_400.0).timed


@given(uses)
def test_nothing_is_lost_when_phases_are_added_up(used: list[Use]) -> None:
    made = by_kind(used)
    assert len({use.kind for use in made}) == len(made)
    assert sum(use.tokens for use in made) == sum(use.tokens for use in used)
    assert sum(use.active for use in made if use.timed) <= sum(use.active for use in used) + 1e-6
    assert {use.kind for use in made if use.estimated} == {use.kind for use in used if use.estimated}


USE, LIMIT = Use("P4", "IMPLEMENT", 1_600, 40.0), LIMITS[1]


@pytest.mark.parametrize(
    ("use", "facts", "said"),
    [
        (
            USE,
            Facts(calls=1),
            "the task is larger than its scope says (1 call): raise the scope or set an override with a reason.",
        ),
        (replace(USE, attempts=3), Facts(9), "it took 3 attempts: see why the earlier attempts failed before you add budget."),
        (USE, Facts(9, lost=2), "2 calls had no known outcome: look for a vendor outage, since lost calls count in full."),
        (USE, Facts(9, unusable=1), "1 answer could not be read: choose a stronger model for this kind."),
        (
            USE,
            Facts(9, 12, first_input=10, last_input=90),
            "the context grew from 10 to 90 tokens and it took 12 turns: split the task or name the files it is about.",
        ),
        (replace(USE, estimated=True), Facts(9), "tokens were estimated: compare with the vendor's bill."),
        (
            replace(USE, tokens=10, seconds=160.0),
            Facts(9, 12, first_input=10, last_input=90),
            "checks or the vendor were slow: look at the slowest check before you raise the time limit.",
        ),
    ],
)
def test_a_breach_is_told_with_its_likely_cause_and_what_to_do(use: Use, facts: Facts, said: str) -> None:
    text = explain(use, LIMIT, facts)
    assert text.endswith(said)
    assert text.count(". ") == 0


def test_a_breach_is_one_sentence_with_its_figures() -> None:
    assert explain(replace(USE, attempts=2), LIMIT, Facts(9, lost=1)) == (
        "IMPLEMENT used 160% of its tokens (1,600 of 1,000) and 40% of its time, likely because 1 call had no known outcome "
        "and it took 2 attempts: look for a vendor outage, since lost calls count in full."
    )


def test_what_is_free_is_taken_from_the_kinds_themselves() -> None:
    assert stands(5_500, left=(Kind.VERIFY, Kind.PR, Kind.MONITOR)).action == "warn"
