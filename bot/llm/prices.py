"""What a model costs, from the price table that comes with genai-prices. Never from the network: it could change mid-run."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from bot.core.budget import MICRO, PriceTier, Rates
from bot.core.errors import SetupError

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

TABLE_VERSION = "0.2.3"
"""Version of genai-prices that `TABLE_DATED` belongs to; a test holds the two together."""
TABLE_DATED = "2026-11-10"
STALE_DAYS = 30
"""Vendors change prices every few weeks: after so many days the table may no longer be what is billed."""


def rates(vendor: str, model: str) -> Rates:
    """The prices of exactly this model id, today. SetupError where the table has no such model."""
    found = _find(vendor, model)
    prices = found.get_prices(datetime.now(UTC)) if found else None
    if prices is None or not (prices.input_mtok and prices.output_mtok):  # speech and embeddings have prices of other kinds
        raise SetupError(
            f"no price is known for model {model} of {vendor}; use a model from the price table, or add its prices under the "
            "key `prices` of the configuration"
        )
    return Rates(model, TABLE_DATED, tuple(_tier(model, prices, above) for above in _starts(prices)))


def stale(today: date) -> str:
    """What a person has to know about the age of the table on `today`; empty as long as it is young enough."""
    age = (today - date.fromisoformat(TABLE_DATED)).days
    if age <= STALE_DAYS:
        return ""
    return (
        f"the price table is of {TABLE_DATED}, {age} days old, and what is billed may differ from it: "
        "update Ostler, or add today's prices under the key `prices` of the configuration"
    )


def long_write_factor(model: str) -> Decimal:
    """How many times the input price a cache write costs that is kept for long.

    Sources: OpenAI, 12 hours, 2.5 times (the table leaves it out and says so in its comment on gpt-6.1-terra; litellm 1.109.1
    has it for every model from gpt-5.6 on); Anthropic, an hour, twice (prompt-caching#pricing).
    """
    return Decimal("2.5") if model.startswith("gpt-") else Decimal(2)


def _find(vendor: str, model: str) -> ModelInfo | None:
    """The table also matches by prefix and pattern. A new model must not be billed as its older namesake, so ids are compared."""
    from genai_prices.data import providers  # 20,000 lines that most commands don't need

    return next((m for p in providers if p.id == vendor for m in p.models if m.id == model), None)


def _starts(prices: ModelPrice) -> list[int]:
    """Prompt lengths above which other prices hold, 0 first."""
    tiered = [value for value in vars(prices).values() if hasattr(value, "tiers")]
    return sorted({0, *(tier.start for value in tiered for tier in value.tiers)})


def _tier(model: str, prices: ModelPrice, above: int) -> PriceTier:
    def price(key: str) -> Decimal | None:
        return _at(getattr(prices, f"{key}_mtok"), above)

    base = price("input") or Decimal(0)
    written = price("cache_write")
    write = _or(written, base)  # models without a write price bill writes as input
    long = _or(price("cache_write_1h"), write if written is None else base * long_write_factor(model))
    return PriceTier(
        above=above,
        input=_micro(base),
        output=_micro(price("output") or Decimal(0)),
        cache_read=_micro(_or(price("cache_read"), base)),
        cache_write=_micro(write),
        cache_write_long=_micro(long),
    )


def keeps_12_hours(model: str) -> bool:
    """Whether a cache of 12 hours is asked for: OpenAI has it for gpt-6 and later, and for gpt-5.6 by one source of two."""
    major = model.removeprefix("gpt-").split("-")[0].split(".")[0]
    return model.startswith("gpt-") and major.isdigit() and int(major) >= 6


def _at(value: Any, above: int) -> Decimal | None:
    """The price that holds above `above` tokens; `value` is a Decimal, a TieredPrices or None."""
    if value is None or isinstance(value, Decimal):
        return value
    held: Decimal = [value.base, *(tier.price for tier in value.tiers if tier.start <= above)][-1]
    return held


def _or(value: Decimal | None, fallback: Decimal) -> Decimal:
    return fallback if value is None else value


def _micro(dollars_per_million: Decimal) -> int:
    return int((dollars_per_million * MICRO).to_integral_value(ROUND_CEILING))
