"""Prices against the table that was checked by hand, and costs against genai-prices' own sums."""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal
from importlib.metadata import version

import genai_prices
import pytest

from bot.core.budget import MICRO, PriceTier, Usage, cost, worst_input_cost
from bot.core.errors import SetupError
from bot.llm import prices
from bot.llm.prices import rates

# model: input, output, cache read, write (5 min or 30 min), write (1 h or 12 h; None where it isn't sold); dollars per million
TABLE: dict[str, tuple[float, float, float, float, float | None]] = {
    "claude-haiku-5-5": (0.10, 0.50, 0.01, 0.125, 0.20),
    "claude-haiku-4-5": (1, 5, 0.10, 1.25, 2),
    "claude-sonnet-5-5": (2, 10, 0.10, 2.5, 4),
    "claude-sonnet-5": (2, 10, 0.20, 2.5, 4),
    "claude-opus-5-5": (4, 20, 0.20, 5, 8),
    "claude-opus-5": (5, 25, 0.50, 6.25, 10),
    "claude-opus-4-8": (5, 25, 0.50, 6.25, 10),
    "claude-fable-5-2": (8, 40, 0.20, 10, 16),
    "claude-mythos-5-2": (8, 40, 0.20, 10, 16),
    "claude-fable-5-1": (10, 50, 0.25, 12.5, 20),
    "gpt-6-luna": (0.10, 0.50, 0.01, 0.125, 0.25),
    "gpt-6.1-terra": (1, 5, 0.05, 1.25, 2.5),
    "gpt-6.1-sol": (2, 10, 0.10, 2.5, 5),
    "gpt-6-sol": (2, 10, 0.20, 2.5, 5),
    "gpt-6-astra": (10, 50, 1, 12.5, 25),
    "gpt-5.6-luna": (0.2, 1.2, 0.02, 0.25, 0.5),
    "gpt-5.6-terra": (2, 12, 0.2, 2.5, 5),
    "gpt-5.6-sol": (4, 20, 0.4, 5, 10),
    "gpt-5.5": (5, 30, 0.5, 5, None),
    "gpt-5.4-mini": (0.75, 4.5, 0.075, 0.75, None),
    "gpt-5.4-nano": (0.2, 1.25, 0.02, 0.2, None),
}


def vendor_of(model: str) -> str:
    return "anthropic" if model.startswith("claude") else "openai"


def micro(dollars: float) -> int:
    return round(dollars * MICRO)


@pytest.mark.parametrize("model", TABLE)
def test_prices_are_those_of_the_table(model: str) -> None:
    read, output, cached, short, long = TABLE[model]
    found = rates(vendor_of(model), model)
    expected = PriceTier(0, micro(read), micro(output), micro(cached), micro(short), micro(short if long is None else long))
    assert found.tiers[0] == expected
    assert found.model == model


def test_haiku_is_five_times_dearer_above_a_hundred_thousand() -> None:
    low, high = rates("anthropic", "claude-haiku-5-5").tiers
    assert high == PriceTier(100_000, *(5 * getattr(low, name) for name in PriceTier.__slots__[1:]))
    found = rates("anthropic", "claude-haiku-5-5")
    assert cost(found, Usage(input=60_000, cache_read=40_000)) == 6_000 + 400
    assert cost(found, Usage(input=60_001, cache_read=40_000)) == 30_001 + 2_000


@pytest.mark.parametrize("model", [model for model in TABLE if model.startswith("gpt-6")])
def test_gpt_6_is_dearer_above_272_thousand(model: str) -> None:
    low, high = rates("openai", model).tiers
    doubled = (2 * low.input, low.output * 3 // 2, 2 * low.cache_read, 2 * low.cache_write, 2 * low.cache_write_long)
    assert high == PriceTier(272_000, *doubled)


@pytest.mark.parametrize("model", [m for m in TABLE if m.startswith("claude") and m != "claude-haiku-5-5"])
def test_other_claude_models_are_flat(model: str) -> None:
    assert len(rates("anthropic", model).tiers) == 1


@pytest.mark.parametrize(
    ("vendor", "model"),
    [
        ("anthropic", "claude-haiku-5-5-20991231"),  # the table's own pattern would take it
        ("anthropic", "claude-haiku-9"),
        ("openai", "claude-haiku-5-5"),
        ("openai", "gpt-6"),
        ("nobody", "gpt-6-luna"),
        ("openai", ""),
        ("openai", "text-embedding-3-small"),  # in the table, without a price of what a model writes
        ("openai", "whisper-1"),  # in the table, by the hour
    ],
)
def test_no_price_is_guessed(vendor: str, model: str) -> None:
    with pytest.raises(SetupError, match="`prices`"):
        rates(vendor, model)


def test_the_date_belongs_to_the_installed_table() -> None:
    assert version("genai-prices") == prices.TABLE_VERSION, "look up when the new table was made and change both constants"
    assert rates("openai", "gpt-6-luna").dated == prices.TABLE_DATED


@pytest.mark.parametrize("days", [-1, 0, prices.STALE_DAYS])
def test_a_young_table_is_not_worth_a_word(days: int) -> None:
    assert prices.stale(date.fromisoformat(prices.TABLE_DATED) + timedelta(days)) == ""


def test_an_old_table_is_said_to_be() -> None:
    said = prices.stale(date.fromisoformat(prices.TABLE_DATED) + timedelta(prices.STALE_DAYS + 1))
    assert f"of {prices.TABLE_DATED}, 31 days old" in said
    assert "`prices`" in said


@pytest.mark.parametrize("model", TABLE)
def test_cost_is_what_genai_prices_adds_up(model: str) -> None:
    chance = random.Random(model)
    found = rates(vendor_of(model), model)
    for _ in range(200):
        scale = chance.choice([10, 10_000, 150_000, 600_000])
        plain, output, read, short, long = (chance.randrange(scale) for _ in range(5))
        usage = Usage(plain, output, read, short, long if model.startswith("claude") else 0)
        theirs = genai_prices.Usage(
            input_tokens=usage.prompt,
            cache_read_tokens=usage.cache_read,
            cache_write_tokens=usage.cache_write + usage.cache_write_long,
            **({"cache_write_1h_tokens": usage.cache_write_long} if usage.cache_write_long else {}),
            output_tokens=usage.output,
        )
        total = genai_prices.calc_price(theirs, model, provider_id=vendor_of(model)).total_price
        ours = Decimal(cost(found, usage)) / MICRO
        assert total <= ours < total + Decimal(1) / MICRO
        assert worst_input_cost(found, usage.prompt) + -(-usage.output * found.tier(usage.prompt).output // MICRO) >= cost(
            found, usage
        )
