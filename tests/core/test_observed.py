"""Bases made from what runs used, and the figures that limits are judged by."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.errors import BadInput
from bot.core.experience import KindUse, RunCost
from bot.core.limits import IMPORTANCE, Rules, limit
from bot.core.observed import indicators, rebase
from bot.core.phases import Kind
from bot.core.selection import Scope

RULES = Rules()
uses = st.builds(KindUse, st.sampled_from([str(kind) for kind in Kind]), st.integers(0, 10**7), st.floats(0, 10**5))
runs = st.lists(
    st.builds(
        RunCost,
        st.just("docs"),
        st.sampled_from([str(scope) for scope in Scope]),
        st.sampled_from(IMPORTANCE),
        st.just(1),
        st.lists(uses, unique_by=lambda use: use.kind).map(tuple),
    ),
    max_size=12,
)


def run(*kinds: tuple[str, int], scope: str = "Medium", importance: str = "medium") -> RunCost:
    return RunCost("docs", scope, importance, 1, tuple(KindUse(kind, tokens, 10.0) for kind, tokens in kinds))


@given(runs)
def test_the_new_limits_hold_for_three_of_four_of_the_runs_they_come_from(some: list[RunCost]) -> None:
    made = rebase(some, RULES)
    rules = replace(RULES, base=tuple((one.kind, one.base) for one in made))
    for one in made:
        seen = [(run, use) for run in some for use in run.uses if use.kind == one.kind]
        assert one.n == len(seen)
        if len(seen) < 5:
            assert one.base == dict(RULES.base)[one.kind]
            assert one.text == f"kept: {len(seen)} of the 5 runs that a new base needs"
            continue
        for use_of, limit_of in (("tokens", "tokens"), ("seconds", "seconds")):
            held = sum(
                getattr(use, use_of) <= getattr(limit(rules, one.kind, run.scope, run.importance), limit_of) for run, use in seen
            )
            assert 4 * held >= 3 * len(seen)


@given(st.sampled_from(Scope), st.sampled_from(IMPORTANCE), st.integers(5, 20))
def test_runs_that_use_just_their_limits_give_the_base_back(scope: Scope, importance: str, n: int) -> None:
    exact = limit(RULES, "IMPLEMENT", scope, importance)
    seen = RunCost("docs", scope, importance, 1, (KindUse("IMPLEMENT", exact.tokens, exact.seconds),))
    made = next(one for one in rebase([seen] * n, RULES) if one.kind == "IMPLEMENT")
    assert made.base == dict(RULES.base)["IMPLEMENT"]
    assert made.text.endswith(f"the 75th percentile of {n} runs")


def test_a_base_is_the_75th_percentile_and_not_the_largest() -> None:
    made = rebase([run(("PLAN", tokens)) for tokens in (120, 240, 360, 480, 600, 720, 840, 96_000)], RULES)
    plan = next(one for one in made if one.kind == "PLAN")
    assert plan.base.tokens == 600, "720 at a weight of 1.2"
    assert plan.text == "128,000 to 600 tokens, 250 to 9 s: the 75th percentile of 8 runs"


@pytest.mark.parametrize("bad", [run(("DEPLOY", 1)), run(("PLAN", 1), scope="Huge"), run(("PLAN", 1), importance="top")])
def test_a_run_that_the_rules_do_not_know_is_refused(bad: RunCost) -> None:
    with pytest.raises(BadInput, match="There is no"):
        rebase([bad], RULES)


def test_the_figures_that_limits_are_judged_by() -> None:
    """IMPLEMENT has 224,000 tokens: two runs within, one above, one above the stop-loss; one that asked no model."""
    some = [run(("IMPLEMENT", tokens)) for tokens in (100_000, 224_000, 224_001, 268_801)]
    made = indicators([*some, run(("PLAN", 90_000), ("REVIEW", 60_000)), run()], RULES, breaches=8, false_breaches=1)
    assert (made.runs, made.within, made.stopped, made.false_positives) == (5, 60, 20, 12)
    assert dict(made.shares) == {"planning": 9, "implementation": 84, "verification": 6}


def test_without_runs_nothing_is_claimed() -> None:
    made = indicators([], RULES)
    assert (made.runs, made.within, made.stopped, made.false_positives, made.shares) == (0, None, None, None, ())


def test_more_marks_than_breaches_are_refused() -> None:
    with pytest.raises(BadInput, match="2 of 1 breaches"):
        indicators([], RULES, breaches=1, false_breaches=2)


@given(runs)
def test_shares_are_of_all_tokens(some: list[RunCost]) -> None:
    made = indicators(some, RULES)
    if made.shares:
        assert abs(sum(percent for _, percent in made.shares) - 100) <= 1
    if made.within is not None and made.stopped is not None:
        assert made.within + made.stopped <= 101
