"""What a model costs, from the price table that comes with genai-prices. Never from the network: it could change mid-run."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any

from bot.core.budget import MICRO, PriceTier, Rates
from bot.core.errors import SetupError

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice

TABLE_VERSION = "0.2.3"
"""Version of genai-prices that `TABLE_DATED` belongs to; a test holds the two together."""
TABLE_DATED = "2026-11-10"

_LONG_WRITE_OPENAI = Decimal("2.5")
"""A write that OpenAI keeps for 12 hours costs 2.5 times the input price on gpt-6 and later. The table has only the
30-minute price and says so (its comment on gpt-6.1-terra: "The 12-hour retention rate ($2.50) is not modeled")."""

_Price = Callable[[str], Decimal | None]


def rates(vendor: str, model: str) -> Rates:
    """The prices of exactly this model id, today. SetupError where the table has no such model."""
    found = _find(vendor, model)
    if found is None:
        raise SetupError(
            f"no price is known for model {model} of {vendor}; use a model from the price table, or add its prices under the "
            "key `prices` of the configuration"
        )
    prices = found.get_prices(datetime.now(UTC))
    return Rates(model, TABLE_DATED, tuple(_tier(vendor, model, prices, above) for above in _starts(prices)))


def _find(vendor: str, model: str) -> ModelInfo | None:
    """The table also matches by prefix and pattern. A new model must not be billed as its older namesake, so ids are compared."""
    from genai_prices.data import providers  # 20,000 lines that most commands don't need

    return next((m for p in providers if p.id == vendor for m in p.models if m.id == model), None)


def _starts(prices: ModelPrice) -> list[int]:
    """Prompt lengths above which other prices hold, 0 first."""
    tiered = [value for value in vars(prices).values() if hasattr(value, "tiers")]
    return sorted({0, *(tier.start for value in tiered for tier in value.tiers)})


def _tier(vendor: str, model: str, prices: ModelPrice, above: int) -> PriceTier:
    def price(key: str) -> Decimal | None:
        return _at(getattr(prices, f"{key}_mtok"), above)

    base = price("input") or Decimal(0)
    write = _or(price("cache_write"), base)  # models without a write price bill writes as input
    return PriceTier(
        above=above,
        input=_micro(base),
        output=_micro(price("output") or Decimal(0)),
        cache_read=_micro(_or(price("cache_read"), base)),
        cache_write=_micro(write),
        cache_write_long=_micro(_long_write(vendor, model, base, write, price)),
    )


def _long_write(vendor: str, model: str, base: Decimal, write: Decimal, price: _Price) -> Decimal:
    if vendor == "openai":
        return base * _LONG_WRITE_OPENAI if keeps_12_hours(model) else write
    return _or(price("cache_write_1h"), base * 2)  # Anthropic: an hour costs twice the input price (prompt-caching#pricing)


def keeps_12_hours(model: str) -> bool:
    """Whether OpenAI sells the long cache for `model`: gpt-6 and later."""
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
