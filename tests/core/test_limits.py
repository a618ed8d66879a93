"""Limits of phases: the published vectors, exact arithmetic, one rounding, overrides, caps, and rules that refuse nonsense."""

from __future__ import annotations

import itertools
from dataclasses import replace
from decimal import ROUND_CEILING, Decimal, localcontext
from math import prod
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import BadInput
from bot.core.limits import (
    AGENT,
    IMPORTANCE,
    REFERENCE,
    KindBase,
    Override,
    Rules,
    RunCaps,
    Thresholds,
    limit,
    over,
    run_caps,
    task_limits,
)
from bot.core.phases import Kind
from bot.core.selection import Scope

DESIGNED, SHIPPED = Rules(base=REFERENCE), Rules()

factors = st.decimals("0.001", "10", places=3)
bases = st.builds(KindBase, st.integers(1, 10**7), st.integers(1, 10**5), factors)
rules_ = st.builds(
    Rules,
    multiplier=factors,
    base=st.tuples(*(bases for _ in Kind)).map(lambda made: tuple(zip(map(str, Kind), made, strict=True))),
    complexity=st.tuples(*(factors for _ in Scope)).map(lambda made: tuple(zip(map(str, Scope), made, strict=True))),
    importance=st.tuples(*(factors for _ in IMPORTANCE)).map(lambda made: tuple(zip(IMPORTANCE, made, strict=True))),
)
kinds, scopes, levels = st.sampled_from(Kind), st.sampled_from(Scope), st.sampled_from(IMPORTANCE)


@pytest.mark.parametrize(
    ("scope", "sums"),
    [
        (Scope.TINY, (8_190, 11_700, 17_550, 23_400)),
        (Scope.SMALL, (13_104, 18_720, 28_080, 37_440)),
        (Scope.MEDIUM, (16_380, 23_400, 35_100, 46_800)),
        (Scope.LARGE, (24_570, 35_100, 52_650, 70_200)),
    ],
)
def test_the_designed_table_gives_the_published_sums(scope: Scope, sums: tuple[int, ...]) -> None:
    assert tuple(sum(one.tokens for one in task_limits(DESIGNED, Kind, scope, level)) for level in IMPORTANCE) == sums


def test_the_published_single_limits() -> None:
    assert limit(DESIGNED, Kind.THINK, Scope.LARGE, "critical").tokens == 18_000
    assert limit(DESIGNED, Kind.PR, Scope.SMALL, "low").tokens == 504
    assert limit(DESIGNED, Kind.PR, Scope.TINY, "low").tokens == 315


@pytest.mark.parametrize(
    ("rules", "scope", "level", "tokens", "seconds"),
    [
        (DESIGNED, Scope.MEDIUM, "medium", 23_400, 573),
        (SHIPPED, Scope.MEDIUM, "medium", 1_497_600, 2_865),
        (SHIPPED, Scope.LARGE, "critical", 4_492_800, 8_595),
    ],
)
def test_sums_of_both_tables(rules: Rules, scope: Scope, level: str, tokens: int, seconds: int) -> None:
    limits = task_limits(rules, Kind, scope, level)
    assert (sum(one.tokens for one in limits), sum(one.seconds for one in limits)) == (tokens, seconds)


def test_the_largest_task_fits_into_a_run() -> None:
    limits = task_limits(SHIPPED, Kind, Scope.LARGE, "critical")
    assert sum(one.tokens for one in limits) < run_caps(SHIPPED, limits).tokens


@given(rules_, kinds, scopes, levels)
def test_the_breakdown_can_be_checked_by_hand(rules: Rules, kind: Kind, scope: Scope, level: str) -> None:
    """Its product, rounded up once, is the limit; it is worked out here with more digits than any product of them has."""
    made = limit(rules, kind, scope, level)
    with localcontext(prec=60):
        product = prod((Decimal(part.replace(",", "")) for part in made.how.split(" x ")), start=Decimal(1))
        assert made.tokens == int(product.to_integral_value(ROUND_CEILING))
        assert made.tokens - 1 < product


def test_the_shipped_breakdown_names_base_complexity_importance_and_weight() -> None:
    assert limit(SHIPPED, Kind.IMPLEMENT, Scope.MEDIUM, "high").how == "224,000 x 1.0 x 1.5 x 1.0"
    assert limit(replace(SHIPPED, multiplier=Decimal("1.1")), Kind.PR, Scope.TINY, "low").how == "96,000 x 0.5 x 0.7 x 0.6 x 1.1"


@given(rules_, kinds, scopes, levels)
def test_the_digits_of_the_surroundings_do_not_matter(rules: Rules, kind: Kind, scope: Scope, level: str) -> None:
    with localcontext(prec=3):
        rough = limit(rules, kind, scope, level), rules.digest
    assert rough == (limit(rules, kind, scope, level), rules.digest)


# --- overrides --------------------------------------------------------------------------------------------------------


@given(rules_, kinds, scopes, levels, st.integers(1, 10**9))
def test_an_override_replaces_the_limit_and_takes_no_factor(
    rules: Rules, kind: Kind, scope: Scope, level: str, tokens: int
) -> None:
    computed = limit(rules, kind, scope, level)
    made = limit(replace(rules, overrides=(Override(kind, tokens, None, "a large diff"),)), kind, scope, level)
    assert (made.tokens, made.seconds, made.override_reason) == (tokens, computed.seconds, "a large diff")
    assert (made.computed_tokens, made.computed_seconds) == (computed.tokens, computed.seconds)
    assert made.lowered == (tokens < computed.tokens)


def test_an_override_for_the_task_goes_before_one_for_all() -> None:
    overrides = (Override("PLAN", 7, None, "all"), Override("PLAN", 9, None, "this one", "T2"))
    for ordered in itertools.permutations(overrides):
        rules = replace(SHIPPED, overrides=ordered)
        assert limit(rules, "PLAN", "Tiny", "low", task="T2").tokens == 9
        assert limit(rules, "PLAN", "Tiny", "low", task="T1").tokens == 7
        assert not limit(rules, "SPEC", "Tiny", "low", task="T2").override_reason


# --- the cap of a category --------------------------------------------------------------------------------------------


@given(rules_, st.lists(kinds, min_size=1), scopes, levels, st.integers(9, 10**8))
def test_a_lower_category_cap_shrinks_all_limits_alike(
    rules: Rules, some: list[Kind], scope: Scope, level: str, cap: int
) -> None:
    whole, made = task_limits(rules, some, scope, level), task_limits(rules, some, scope, level, token_cap=cap)
    total = sum(one.tokens for one in whole)
    assert len({one.kind for one in made}) == len(made) == len(set(some)), "a phase that runs again adds nothing"
    assert sum(one.tokens for one in made) <= max(cap, 0)
    assert all(1 <= small.tokens <= big.tokens for small, big in zip(made, whole, strict=True))
    if total <= cap:
        assert made == whole
    else:
        assert cap - sum(one.tokens for one in made) < len(made), "only roundings are lost"
        assert all(
            abs(small.tokens - big.tokens * cap / total) <= 1 + big.tokens / total * len(made)
            for small, big in zip(made, whole, strict=True)
        )


def test_a_category_cap_leaves_an_override_as_it_was_set() -> None:
    rules = replace(SHIPPED, overrides=(Override("IMPLEMENT", 900_000, None, "a generated file"),))
    made = {one.kind: one.tokens for one in task_limits(rules, ("IMPLEMENT", "VERIFY"), "Medium", "medium", token_cap=176_000)}
    assert made == {"IMPLEMENT": 900_000, "VERIFY": 64_000}


def test_a_cap_below_one_token_for_each_phase_is_refused() -> None:
    with pytest.raises(BadInput, match="leaves nothing for 9 phases"):
        task_limits(SHIPPED, Kind, "Tiny", "low", token_cap=8)


# --- the caps of a run ------------------------------------------------------------------------------------------------

CAPS = RunCaps(5_000_000, 7_200, 25, 90_000)


@given(
    st.integers(0, 6_000_000),
    st.integers(0, 100_000),
    st.integers(0, 8_000),
    st.integers(0, 30),
    st.integers(0, 200_000),
)
def test_no_call_starts_that_could_pass_a_cap(tokens: int, tier: int, seconds: int, phases: int, needed: int) -> None:
    said = over(CAPS, tokens=tokens, tier_tokens=tier, seconds=seconds, work_phases=phases, needed=needed)
    fits = tokens + needed <= CAPS.tokens and tier + needed <= CAPS.tier_tokens
    left = tokens < CAPS.tokens and tier < CAPS.tier_tokens and seconds < CAPS.seconds and phases <= CAPS.work_phases
    assert (said == "") == (fits and left)


def test_the_cap_that_is_reached_is_named() -> None:
    def said(tokens: int = 0, tier: int = 0, seconds: int = 0, phases: int = 0, needed: int = 0) -> str:
        return over(CAPS, tokens=tokens, tier_tokens=tier, seconds=seconds, work_phases=phases, needed=needed)

    assert said(tokens=5_000_000) == "The run's cap of 5,000,000 tokens is reached: 5,000,000 are used."
    assert said(tier=80_000, needed=10_001).endswith("80,000 are used and the next call may use 10,001.")
    assert said(seconds=7_200) == "The run's cap of 120 active minutes is reached."
    assert said(phases=26) == "The run has 26 work phases, and its cap is 25: ask for less at once."


def test_a_tier_is_capped_at_three_times_its_limits_and_more_with_each_override() -> None:
    limits = task_limits(SHIPPED, ("IMPLEMENT", "VERIFY", "REVIEW"), "Medium", "medium")
    assert [run_caps(SHIPPED, limits, granted=granted).tier_tokens for granted in (0, 1)] == [3 * 480_000, 6 * 480_000]


# --- what rules refuse, and their digest ------------------------------------------------------------------------------

NAN = Decimal("NaN")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mode": "strict"}, "budget.mode is 'strict'"),
        ({"enforce_for": ("urgent",)}, "enforce_for names 'urgent'"),
        ({"base": AGENT[1:]}, f"kinds lacks {AGENT[0][0]}"),
        ({"base": (*AGENT, ("DEPLOY", AGENT[0][1]))}, "kinds has DEPLOY too much"),
        ({"base": (*AGENT, AGENT[0])}, f"kinds has {AGENT[0][0]} too much"),
        ({"complexity": ()}, "budget.complexity lacks Tiny"),
        ({"importance": (("low", Decimal(1)),)}, "budget.importance lacks medium"),
        ({"overrides": (Override("DEPLOY", 1, 1, "why"),)}, "names the kind 'DEPLOY'"),
        ({"overrides": (Override("PLAN", 1, 1, " "),)}, "PLAN has no reason"),
        ({"overrides": (Override("PLAN", None, None, "why"),)}, "PLAN sets nothing"),
        ({"overrides": (Override("PLAN", 0, None, "why"),)}, "PLAN: tokens is 0"),
        ({"overrides": (Override("PLAN", None, -1, "why"),)}, "PLAN: seconds is -1"),
        ({"overrides": (Override("PLAN", 1, 1, "why"), Override("PLAN", 2, 1, "why"))}, "two entries for PLAN"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Rules(**change)


@pytest.mark.parametrize("number", ["0", "-1", "10.01", "NaN", "Infinity"])
def test_a_factor_is_above_nothing_and_at_most_ten(number: str) -> None:
    bad = Decimal(number)
    name, base = AGENT[0]
    for change, where in (
        ({"multiplier": bad}, "budget.multiplier"),
        ({"base": ((name, replace(base, weight=bad)), *AGENT[1:])}, f"kinds.{name}.weight"),
        ({"complexity": tuple((scope, bad) for scope, _ in SHIPPED.complexity)}, "budget.complexity.Tiny"),
        ({"importance": tuple((level, bad) for level, _ in SHIPPED.importance)}, "budget.importance.low"),
    ):
        with pytest.raises(BadInput, match=f"{where} is {number}: give a number above 0 and at most 10"):
            replace(SHIPPED, **change)


@pytest.mark.parametrize("bad", [0, -5, True, 1.5])
def test_a_base_is_a_whole_number_above_nothing(bad: Any) -> None:
    name, base = AGENT[0]
    for field in ("tokens", "seconds"):
        with pytest.raises(BadInput, match=f"kinds.{name}.{field} is {bad}"):
            Rules(base=((name, replace(base, **{field: bad})), *AGENT[1:]))


@pytest.mark.parametrize("name", ["exceeded", "stop_loss", "near_done", "hard_cap_factor"])
@pytest.mark.parametrize("number", ["1", "0", "NaN"])
def test_a_threshold_of_a_stop_is_above_one(name: str, number: str) -> None:
    with pytest.raises(BadInput, match=f"budget.thresholds.{name} is {number}"):
        Rules(thresholds=replace(Thresholds(), **{name: Decimal(number)}))


@pytest.mark.parametrize(("name", "number"), [("warning", "0"), ("warning", "1.6"), ("hint", "1.1"), ("hint", "NaN")])
def test_a_threshold_of_a_warning_is_below_what_it_warns_of(name: str, number: str) -> None:
    with pytest.raises(BadInput, match=f"budget.thresholds.{name} is {number}"):
        Rules(thresholds=replace(Thresholds(), **{name: Decimal(number)}))


@pytest.mark.parametrize(
    ("kind", "scope", "level"), [("DEPLOY", "Tiny", "low"), ("PLAN", "Huge", "low"), ("PLAN", "Tiny", "top")]
)
def test_an_unknown_kind_scope_or_level_is_refused(kind: str, scope: str, level: str) -> None:
    with pytest.raises(BadInput, match="There is no"):
        limit(SHIPPED, kind, scope, level)


def test_the_digest_is_of_the_numbers_and_not_of_how_they_are_written() -> None:
    same = Rules(multiplier=Decimal("1.00"), base=tuple(reversed(AGENT)), complexity=tuple(reversed(SHIPPED.complexity)))
    assert same.digest == SHIPPED.digest
    assert len(SHIPPED.digest) == 16
    assert int(SHIPPED.digest, 16) >= 0
    others = (
        DESIGNED,
        Rules(mode="observe"),
        Rules(multiplier=Decimal("1.1")),
        Rules(enforce_for=("low",)),
        Rules(thresholds=Thresholds(stop_loss=Decimal("1.5"))),
        Rules(overrides=(Override("PLAN", 1, None, "why"),)),
        Rules(overrides=(Override("PLAN", 1, None, "why", "T1"),)),
    )
    assert len({SHIPPED.digest, *(rules.digest for rules in others)}) == len(others) + 1


def test_only_what_is_to_be_enforced_is_enforced() -> None:
    assert all(SHIPPED.enforced(level) for level in IMPORTANCE)
    some = Rules(enforce_for=("low", "medium"))
    assert [some.enforced(level) for level in IMPORTANCE] == [True, True, False, False]
    assert not any(replace(some, mode="observe").enforced(level) for level in IMPORTANCE)
