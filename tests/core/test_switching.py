"""Going on or switching: counted turn by turn, the tables come out, and the closed form agrees where there is one price."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.budget import MICRO, PriceTier, Rates
from bot.core.switching import HORIZON, continue_cost, hand_over, switch_turns


def rates(*tiers: tuple[int, float, float, float, float]) -> Rates:
    """Tiers of (above, write, long write, read, output) in dollars for a million tokens."""
    return Rates("m", "2026-11-10", tuple(_tier(above, *(round(price * MICRO) for price in prices)) for above, *prices in tiers))


def _tier(above: int, write: int, long_write: int, read: int, output: int) -> PriceTier:
    return PriceTier(above, write, output, read, write, long_write)


HAIKU = rates((0, 0.125, 0.2, 0.01, 0.5), (100_000, 0.625, 1, 0.05, 2.5))
SONNET, OPUS = rates((0, 2.5, 4, 0.1, 10)), rates((0, 5, 8, 0.2, 20))
FABLE = rates((0, 10, 16, 0.2, 40))
LUNA = rates((0, 0.125, 0.25, 0.01, 0.5), (272_000, 0.25, 0.5, 0.02, 0.75))
TERRA = rates((0, 1.25, 2.5, 0.05, 5), (272_000, 2.5, 5, 0.1, 7.5))
SOL = rates((0, 2.5, 5, 0.1, 10), (272_000, 5, 10, 0.2, 15))
OLD_SONNET, OLD_HAIKU = rates((0, 3.75, 6, 0.3, 15)), rates((0, 1.25, 2, 0.1, 5))
CONTEXTS = (20_000, 50_000, 90_000, 120_000, 200_000)


@pytest.mark.parametrize(
    ("current", "other", "turns"),
    [
        (SONNET, HAIKU, [1, 1, 1, 5, 6]),
        (OPUS, HAIKU, [1, 1, 1, 2, 3]),
        (OPUS, SONNET, [4, 7, 9, 11, 14]),
        (FABLE, OPUS, [4, 9, 15, 20, 33]),
        (SOL, LUNA, [1, 1, 1, 1, 1]),
        (SOL, TERRA, [4, 7, 9, 11, 14]),
        (OLD_SONNET, OLD_HAIKU, [2, 3, 4, 4, 5]),
    ],
)
def test_the_turns_from_which_a_switch_pays_are_those_of_the_table(current: Rates, other: Rates, turns: list[int]) -> None:
    assert [switch_turns(current, other, context=length, per_turn=2_800, output=800) for length in CONTEXTS] == turns


def test_a_run_of_thirty_turns_costs_what_was_derived() -> None:
    found = [continue_cost(model, context=12_000, per_turn=2_800, output=800, turns=30) for model in (HAIKU, SONNET, OPUS)]
    assert found == [38_498, 621_480, 1_242_960]


def test_a_cold_small_model_is_cheaper_below_its_price_step_and_dearer_above() -> None:
    def next_turn(model: Rates, context: int, warm: int) -> int:
        return continue_cost(model, context=context, per_turn=0, output=800, turns=1, warm=warm)

    assert next_turn(HAIKU, 95_000, 0) < next_turn(OPUS, 95_000, 95_000)
    assert next_turn(HAIKU, 105_000, 0) > next_turn(OPUS, 105_000, 105_000)


prices = st.tuples(st.integers(1, 2_000), st.integers(1, 2_000), st.integers(1, 2_000), st.integers(1, 5_000)).map(
    lambda cents: rates((0, max(cents[:3]) / 100, max(cents[:3]) / 50, min(cents[:3]) / 100, cents[3] / 100))
)
lengths = st.integers(1, 300_000)


def exact(model: Rates, context: int, per_turn: int, output: int, turns: int, warm: int) -> float:
    """The closed form for one price: what is read again grows with the square of the turns."""
    tier = model.tiers[0]
    again = (turns - 1) * context + per_turn * (turns - 1) * (turns - 2) / 2
    written = context - warm + per_turn * (turns - 1)
    return (tier.cache_read * (warm + again) + tier.cache_write * written + tier.output * output * turns) / MICRO


@given(prices, lengths, st.integers(0, 5_000), st.integers(0, 5_000), st.integers(1, 60), st.floats(0, 1))
def test_turn_by_turn_is_the_closed_form(
    model: Rates, context: int, per_turn: int, output: int, turns: int, share: float
) -> None:
    warm = int(share * context)
    found = continue_cost(model, context=context, per_turn=per_turn, output=output, turns=turns, warm=warm)
    assert 0 <= found - exact(model, context, per_turn, output, turns, warm) < turns + 1e-3  # each bill is rounded up


@given(prices, prices, lengths, st.integers(0, 5_000), st.integers(0, 5_000), st.floats(0, 1))
def test_from_there_on_the_other_is_cheaper_and_one_turn_before_it_is_not(
    current: Rates, other: Rates, context: int, per_turn: int, output: int, share: float
) -> None:
    warm = int(share * context)

    def saved(turns: int) -> int:
        stay = continue_cost(current, context=context, per_turn=per_turn, output=output, turns=turns, warm=context)
        return stay - continue_cost(other, context=context, per_turn=per_turn, output=output, turns=turns, warm=warm)

    least = switch_turns(current, other, context=context, per_turn=per_turn, output=output, warm=warm)
    if least is None:
        assert saved(HORIZON) <= 0
    else:
        assert all(saved(turns) > 0 for turns in (least, (least + HORIZON) // 2, HORIZON))
        assert least == 1 or saved(least - 1) <= 0


@pytest.mark.parametrize("context", CONTEXTS)
def test_the_linear_rule_gives_nearly_the_turns_and_never_fewer(context: int) -> None:
    """T* = 1 + [(wB - rA) L + (uB - uA) o] / [(rA - rB) L + (wA - wB) G + (uA - uB) o]: it leaves out what is read ever more."""
    here, there, grown, said = OPUS.tiers[0], SONNET.tiers[0], 2_800, 800
    penalty = (there.cache_write - here.cache_read) * context + (there.output - here.output) * said
    gain = (
        (here.cache_read - there.cache_read) * context
        + (here.cache_write - there.cache_write) * grown
        + (here.output - there.output) * said
    )
    found = switch_turns(OPUS, SONNET, context=context, per_turn=grown, output=said)
    assert found is not None
    assert found <= math.ceil(1 + penalty / gain) <= found + 3


def test_a_note_pays_above_its_own_length_and_what_is_read_again() -> None:
    def by_note(model: Rates, context: int, writing: int = 0) -> bool:
        return hand_over(
            model, context=context, note=12_000, reread=25_000, per_turn=2_800, output=800, turns=15, writing=writing
        )

    assert [by_note(SONNET, context) for context in (30_000, 37_000, 38_000, 60_000, 95_000)] == [False, False, True, True, True]
    assert not by_note(SONNET, 38_000, writing=50_000)
