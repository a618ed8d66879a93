"""Rules over prices: when the long cache pays, and which old tool results are left out."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bot.core import caching
from bot.core.budget import MICRO, PriceTier, Rates
from bot.core.caching import gaps, long_pays, masked
from bot.core.conversation import Conversation, Message, Text, ToolResult, ToolUse

SONNET = PriceTier(0, 2 * MICRO, 10 * MICRO, MICRO // 10, 5 * MICRO // 2, 4 * MICRO)
HAIKU = PriceTier(0, MICRO // 10, MICRO // 2, MICRO // 100, MICRO // 8, MICRO // 5)
FLAT = Rates("sonnet", "2026-11-10", (SONNET,))
CLIFF = Rates(
    "haiku", "2026-11-10", (HAIKU, PriceTier(100_000, *(5 * price for price in (100_000, 500_000, 10_000, 125_000, 200_000))))
)
LIMIT = 300_000
"""Characters that stay below 100,000 tokens."""


def turn(number: int, size: int, *, name: str = "search", arguments: str = "{}", error: bool = False) -> Conversation:
    """One request's answer and the result of the tool it asked for."""
    use = ToolUse(f"t{number}", name, arguments)
    return (
        Message("assistant", (Text(f"turn {number}"), use)),
        Message("user", (ToolResult(use.id, f"{number}:".ljust(size, "x"), error),)),
    )


def build(*sizes: int) -> Conversation:
    return tuple(message for number, size in enumerate(sizes) for message in turn(number, size))


def text(conversation: Conversation) -> list[str]:
    return [block.text for message in conversation for block in message.blocks if isinstance(block, ToolResult)]


def left_out(conversation: Conversation, rates: Rates = FLAT, expiring: int = 0, suite_known: bool = False) -> list[int]:
    """The turns whose results are left out."""
    results = text(masked(conversation, rates, before=4_000, max_turns=40, expiring=expiring, suite_known=suite_known))
    return [number for number, result in enumerate(results) if result.endswith("left out to save space]")]


# --- how long to keep -------------------------------------------------------------------------------------------------


def test_for_a_prefix_that_stands_whole_the_long_cache_pays_from_two_thirds_of_a_gap() -> None:
    """The thresholds of the vendors' prices: 1.5 / 2.4 for Sonnet 5.5, 0.075 / 0.115 for Haiku 5.5."""
    for tier, threshold in ((SONNET, 0.625), (HAIKU, 0.652)):
        assert not long_pays(threshold - 0.01, tier, share=1)
        assert long_pays(threshold + 0.01, tier, share=1)


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 20), st.floats(0.01, 1))
def test_the_rule_is_what_both_ways_cost(read: int, write: int, more: int, expected: int, share: float) -> None:
    tier = PriceTier(0, write, 0, min(read, write), write, write + more)
    written = 1_000
    short = written * write + expected * share * written * write
    long = written * (write + more) + expected * share * written * tier.cache_read
    if abs(short - long) > 1:
        assert long_pays(expected, tier, share) is (long < short)


def test_gaps_are_expected_where_the_suite_outlasts_the_short_cache_but_not_the_long_one() -> None:
    assert [gaps("anthropic", seconds, 60) for seconds in (100, 239, 240, 3_000, 3_600)] == [0, 0, 2, 2, 0]
    assert [gaps("openai", seconds, 60) for seconds in (420, 1_800)] == [0, 2]
    assert gaps("anthropic", 420, 600) == caching.CHECKS_IN_A_BUILD


# --- what to leave out ------------------------------------------------------------------------------------------------

SIZES = st.lists(st.integers(0, 30_000), max_size=25)
RATES = st.sampled_from((FLAT, CLIFF))


NAMES = st.sampled_from(("search", "run_checks", "apply_patch"))
TURNS = st.lists(st.tuples(NAMES, st.integers(0, 30_000)), max_size=25)


@given(TURNS, RATES, st.sampled_from((0, 2, 6)), st.booleans())
def test_between_two_bites_each_request_begins_with_the_one_before(
    turns: list[tuple[str, int]], rates: Rates, expiring: int, suite_known: bool
) -> None:
    """And what is left out stays left out: a conversation that grows never gets a result back."""
    conversation = tuple(message for number, (name, size) in enumerate(turns) for message in turn(number, size, name=name))
    before: list[str] = []
    bites = 0
    for end in range(0, len(conversation) + 1, 2):
        now = text(masked(conversation[:end], rates, before=4_000, max_turns=40, expiring=expiring, suite_known=suite_known))
        if now[: len(before)] != before:
            bites += 1
            changed = [new for old, new in zip(before, now, strict=False) if old != new]
            assert all(new.endswith("left out to save space]") for new in changed)
        before = now
    assert bites <= len(turns) // 2


@given(SIZES, RATES)
def test_the_newest_results_can_always_be_read(sizes: list[int], rates: Rates) -> None:
    newest = text(build(*sizes))[-caching.KEPT_RESULTS :]
    assert text(masked(build(*sizes), rates, before=4_000, max_turns=40))[-caching.KEPT_RESULTS :] == newest


@given(SIZES, RATES)
def test_only_results_are_shortened(sizes: list[int], rates: Rates) -> None:
    conversation = build(*sizes)
    for old, new in zip(conversation, masked(conversation, rates, before=4_000, max_turns=40), strict=True):
        assert [replace(b, text="") if isinstance(b, ToolResult) else b for b in old.blocks] == [
            replace(b, text="") if isinstance(b, ToolResult) else b for b in new.blocks
        ]


def test_a_bite_waits_until_what_it_saves_is_worth_the_rewriting() -> None:
    """At a write of 25 times a read, 30,000 characters out and 24 turns to come are worth 28,800 characters written anew."""
    assert left_out(build(30_000, *[4_000] * 6)) == [0]
    assert left_out(build(30_000, *[8_000] * 6)) == []


def test_late_in_a_build_nothing_is_left_out_any_more() -> None:
    assert left_out(build(*[10] * 34, 30_000, *[4_000] * 5)) == []


def test_short_results_and_failures_stay() -> None:
    failed = turn(0, 900, error=True)
    assert left_out((*failed, *build(0, 50_000, *[1_000] * 6)[2:])) == [1]
    assert left_out(build(50, 50_000, *[1_000] * 7)) == [1]


def test_a_prompt_stays_out_of_the_dearer_tier() -> None:
    """Haiku 5.5 bills all of a prompt fivefold above 100,000 tokens. Results that grow slowly would not be left out otherwise."""
    sizes = [45_000] * 6
    conversation = build(*sizes, 45_000)
    assert left_out(build(*sizes), CLIFF) == []
    assert left_out(conversation, CLIFF)
    assert left_out(conversation, FLAT) == []
    assert sum(map(len, text(masked(conversation, CLIFF, before=4_000, max_turns=40)))) < LIMIT


def test_after_tests_that_outlast_the_cache_a_bite_costs_nothing() -> None:
    rest = [8_000] * 5
    whole = (*build(30_000, *rest), *turn(6, 900, name="run_checks"))
    chosen = (*build(30_000, *rest), *turn(6, 900, name="run_checks", arguments=json.dumps({"tests": ["a.py"]})))
    assert left_out(whole) == []
    assert left_out(whole, expiring=2) == [0]
    assert left_out(chosen, expiring=2) == []
    assert left_out(chosen, expiring=caching.CHECKS_IN_A_BUILD) == [0]


def test_a_bite_waits_for_the_next_gap_where_reading_until_then_is_cheaper_than_rewriting() -> None:
    """With two gaps to come only a third of the turns count; with one behind, a half; and at a gap a bite is free."""
    small, large = build(30_000, *[4_000] * 6), build(90_000, *[4_000] * 6)
    assert [left_out(small), left_out(small, expiring=2)] == [[0], []]
    assert left_out(large, expiring=2) == [0]
    between = (*turn(99, 900, name="run_checks"), *build(50_000, *[4_000] * 6))
    assert left_out(between, expiring=2) == [0, 1]
    assert left_out(build(50_000, *[4_000] * 6), expiring=2) == []


def test_a_suite_that_is_known_is_no_gap_until_a_file_may_have_changed() -> None:
    """The base's suite passed before the build began, so its answer comes at once."""
    editor, looks, edits = "str_replace_based_edit_tool", json.dumps({"command": "view"}), json.dumps({"command": "create"})
    rest = build(*[8_000] * 5)
    for first, changes in (
        (turn(8, 30_000), False), (turn(8, 30_000, name=editor, arguments=looks), False),
        (turn(8, 30_000, name=editor, arguments=edits), True), (turn(8, 30_000, name="apply_patch"), True),
        (turn(8, 30_000, name="bash"), True), (turn(8, 30_000, name=editor, arguments=json.dumps({"file_text": looks})), True),
    ):  # fmt: skip
        conversation = (*first, *rest, *turn(9, 900, name="run_checks"))
        assert left_out(conversation, expiring=2) == [0]
        assert left_out(conversation, expiring=2, suite_known=True) == ([0] if changes else [])
