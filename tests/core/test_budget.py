"""Money: whatever is priced, reserved, settled, lost and released, the bill stays within what was set aside and every cap."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.budget import Grant, Ledger, PriceTier, Rates, Shortfall, Usage, cost, dollars, worst_input_cost
from bot.core.errors import BugError
from tests.core.play import CLIFF, DISCOUNT, FLAT, FREE

prices = st.integers(0, 100_000_000)
tokens = st.integers(0, 60_000)


@st.composite
def any_rates(draw: st.DrawFn) -> Rates:
    """One to three tiers, in any relation to each other: dearer, cheaper, cache reads dearer than input."""
    starts = sorted(draw(st.sets(st.integers(1, 50_000), max_size=2)))
    tiers = tuple(PriceTier(above, *draw(st.tuples(prices, prices, prices, prices, prices))) for above in (0, *starts))
    return Rates("m", "2025-01-01", tiers)


usages = st.builds(Usage, tokens, tokens, tokens, tokens, tokens)
ledgers = st.builds(
    Ledger,
    st.integers(0, 10_000_000),
    st.integers(0, 10_000_000),
    st.integers(0, 1_000_000),
    st.just((("PLAN", 3_000_000), ("IMPLEMENT", 7_000_000))),
)


def asked(
    ledger: Ledger, call: str, rates: Rates, bound: int = 1_000, wanted: int = 4_000, floor: int = 500
) -> tuple[Ledger, object]:
    return ledger.reserve(call, "PLAN", "p01", rates, input_bound=bound, output_wanted=wanted, output_floor=floor)


@given(any_rates(), usages, tokens)
def test_what_is_set_aside_covers_every_bill_within_the_bounds(rates: Rates, usage: Usage, more: int) -> None:
    """However the prompt is split over the caches, and whichever price tier it falls into."""
    _, grant = asked(Ledger(10**12, 10**12), "c1", rates, usage.prompt + more, usage.output, usage.output)
    assert isinstance(grant, Grant)
    assert cost(rates, usage) <= grant.amount
    assert cost(rates, replace(usage, output=0)) <= worst_input_cost(rates, usage.prompt + more)


@given(any_rates(), st.integers(0, 80_000), st.integers(0, 80_000))
def test_a_larger_bound_is_never_cheaper(rates: Rates, one: int, other: int) -> None:
    assert worst_input_cost(rates, min(one, other)) <= worst_input_cost(rates, max(one, other))


@given(usages, usages)
def test_more_tokens_never_cost_less_where_dearer_tiers_come_later(one: Usage, more: Usage) -> None:
    assert cost(CLIFF, one) <= cost(CLIFF, one + more)


@given(any_rates(), usages)
def test_a_bill_is_rounded_up_to_a_whole_micro_dollar(rates: Rates, usage: Usage) -> None:
    tier = rates.tier(usage.prompt)
    exact = sum(
        amount * price
        for amount, price in (
            (usage.input, tier.input),
            (usage.output, tier.output),
            (usage.cache_read, tier.cache_read),
            (usage.cache_write, tier.cache_write),
            (usage.cache_write_long, tier.cache_write_long),
        )
    )
    assert 0 <= cost(rates, usage) * 1_000_000 - exact < 1_000_000


def test_a_prompt_at_the_edge_of_a_tier_belongs_to_the_lower_one() -> None:
    assert cost(CLIFF, Usage(input=20_000)) == 40_000
    assert cost(CLIFF, Usage(input=20_001)) == 80_004
    assert cost(CLIFF, Usage(input=15_000, cache_read=5_001)) == 15_000 * 4 + 5_001


def test_a_fraction_of_a_micro_dollar_is_set_aside_as_a_whole_one() -> None:
    """As the bill rounds up, so does what is kept for it."""
    tiny = Rates("m", "2025-01-01", (PriceTier(0, 0, 1, 0, 0, 0),))
    _, grant = asked(Ledger(5, 5), "c1", tiny, 0, 1, 1)
    assert grant == Grant(1, cost(tiny, Usage(output=1)), 1) == Grant(1, 1, 1)


def test_a_discount_for_long_prompts_is_not_counted_on() -> None:
    """The bound is above the edge, the prompt below it, at six times the price."""
    assert worst_input_cost(DISCOUNT, 9_000) >= cost(DISCOUNT, Usage(input=8_000))


@given(ledgers, st.lists(st.tuples(any_rates(), tokens, st.integers(0, 8_000), st.booleans()), max_size=8))
def test_no_sequence_of_reservations_passes_a_cap(ledger: Ledger, calls: list[tuple[Rates, int, int, bool]]) -> None:
    for number, (rates, bound, floor, finishing) in enumerate(calls):
        before = ledger
        phase = ("PLAN", "IMPLEMENT")[number % 2]
        ledger, answer = ledger.reserve(
            f"c{number}", phase, "p01", rates, input_bound=bound, output_wanted=4_000, output_floor=floor, finishing=finishing
        )
        reserve = 0 if finishing else ledger.finish_reserve
        if isinstance(answer, Shortfall):
            assert ledger == before
            assert answer.needed > answer.left >= 0
            continue
        assert min(floor, 4_000) <= answer.max_output <= 4_000
        assert answer.amount <= ledger.call_cap
        assert ledger.committed <= max(before.committed, ledger.run_cap - reserve)
        assert ledger.committed_to(phase) <= max(before.committed_to(phase), dict(ledger.phase_caps)[phase])


@given(any_rates(), st.integers(0, 5_000), st.integers(0, 500_000))
def test_short_money_shortens_the_answer_and_never_the_safety(rates: Rates, bound: int, left: int) -> None:
    """What is granted is the most that fits: one token more would not."""
    _, answer = asked(Ledger(left, left), "c1", rates, bound, 4_000, 1)
    price = max(tier.output for tier in rates.up_to(bound))
    if isinstance(answer, Grant) and answer.max_output < 4_000:
        assert answer.amount <= left < worst_input_cost(rates, bound) + -(-(answer.max_output + 1) * price // 1_000_000)
    if isinstance(answer, Shortfall):
        assert answer.needed == worst_input_cost(rates, bound) + -(-price // 1_000_000) > left


@given(any_rates(), usages)
def test_settling_replaces_the_reservation_by_the_bill(rates: Rates, usage: Usage) -> None:
    ledger, _ = asked(Ledger(10**12, 10**12), "c1", rates, usage.prompt, usage.output, usage.output)
    settled = ledger.settle("c1", role="planner", rates=rates, usage=usage)
    assert settled.spent == settled.committed == cost(rates, usage) <= ledger.committed
    assert settled.usage == usage
    assert settled.spent_on("PLAN") == settled.spent


def test_an_unknown_outcome_keeps_the_whole_reservation() -> None:
    ledger, _ = asked(Ledger(1_000_000, 1_000_000), "c1", FLAT)
    lost = ledger.lose("c1", role="planner", model="m")
    assert lost.spent == lost.committed == ledger.committed > 0
    assert lost.charges[0].lost


def test_a_call_that_was_surely_not_billed_frees_its_reservation() -> None:
    empty = Ledger(1_000_000, 1_000_000)
    ledger, _ = asked(empty, "c1", FLAT)
    assert ledger.release("c1") == empty


def test_a_call_is_reserved_and_closed_once() -> None:
    ledger, _ = asked(Ledger(1_000_000, 1_000_000), "c1", FLAT)
    with pytest.raises(BugError, match="reserved before"):
        asked(ledger, "c1", FLAT)
    closed = ledger.settle("c1", role="planner", rates=FLAT, usage=Usage(input=1))
    with pytest.raises(BugError, match="reserved before"):
        asked(closed, "c1", FLAT)
    with pytest.raises(BugError, match="no reservation"):
        closed.settle("c1", role="planner", rates=FLAT, usage=Usage())
    with pytest.raises(BugError, match="no reservation"):
        closed.lose("c2", role="planner", model="m")
    with pytest.raises(BugError, match="no reservation"):
        closed.release("c2")


def test_only_finishing_may_use_what_is_kept_for_finishing() -> None:
    ledger = Ledger(20_000, 20_000, 17_000)
    refused, answer = asked(ledger, "c1", FLAT)
    assert isinstance(answer, Shortfall)
    assert (refused, answer.cap, answer.left) == (ledger, "run", 3_000)
    _, answer = ledger.reserve(
        "c1", "PLAN", "p01", FLAT, input_bound=1_000, output_wanted=4_000, output_floor=500, finishing=True
    )
    assert isinstance(answer, Grant)


def test_a_model_that_costs_nothing_fits_into_any_cap() -> None:
    _, answer = asked(Ledger(0, 0), "c1", FREE)
    assert answer == Grant(4_000, 0, 5_000)


@pytest.mark.parametrize(
    ("amount", "said"),
    [(0, "$0.00"), (1, "$0.0000"), (12_345, "$0.0123"), (10_000, "$0.01"), (1_000_000, "$1.00"), (12_345_678, "$12.35")],
)
def test_small_amounts_keep_more_digits(amount: int, said: str) -> None:
    assert dollars(amount) == said
