"""Prices of models that the bundled table does not know, or has otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from itertools import pairwise
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from bot.config.base import Part, wrong
from bot.core.budget import MICRO, PriceTier, Rates
from bot.llm.prices import long_write_factor

PerMillion = Annotated[Decimal, Field(ge=0, le=10_000, allow_inf_nan=False)]
"""Dollars per million tokens."""
_EARLIEST_ZONE = timedelta(hours=14)
"""Where the day begins first, and a date may be written that UTC has not reached."""


class Prices(Part):
    """What tokens cost. An unstated cache price is the input price, one for a long write at least twice that."""

    input: PerMillion
    output: PerMillion
    cache_read: PerMillion | None = None
    cache_write: PerMillion | None = None
    cache_write_long: PerMillion | None = None

    def tier(self, model: str, above: int) -> PriceTier:
        read, write = (self.input if price is None else price for price in (self.cache_read, self.cache_write))
        long = max(write, self.input * long_write_factor(model)) if self.cache_write_long is None else self.cache_write_long
        return PriceTier(above, *(_whole(price) for price in (self.input, self.output, read, write, long)))

    def stated(self) -> Iterator[tuple[str, Decimal]]:
        """The prices that are written down, by key."""
        for name in Prices.model_fields:
            price = getattr(self, name)
            if price is not None:
                yield name, price


class Tier(Prices):
    """What all tokens of a call cost whose prompt is longer than `above` tokens."""

    above: int = Field(gt=0, le=100_000_000, strict=True)


class Price(Prices):
    """The prices of one exact model id, where the bundled table does not know it or has others. `free` is a model that costs
    nothing, such as one on a machine of one's own."""

    model: str = Field(min_length=1)
    dated: date
    tiers: tuple[Tier, ...] = ()
    free: bool = False

    @field_validator("dated")
    @classmethod
    def _not_to_come(cls, dated: date) -> date:
        if dated > (datetime.now(UTC) + _EARLIEST_ZONE).date():
            raise wrong(f"{dated} is in the future: give the day on which these prices were looked up")
        return dated

    @field_validator("tiers")
    @classmethod
    def _ascending(cls, tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
        for number, (low, high) in enumerate(pairwise(tiers), start=1):
            if high.above <= low.above:
                raise wrong(f"{high.above} does not come after {low.above}: put the tiers in ascending order", number, "above")
        return tiers

    @model_validator(mode="after")
    def _free_or_not(self) -> Price:
        """A price of 0 is a slip that no cap would ever notice, so that it has to be meant."""
        places: list[tuple[Prices, tuple[str | int, ...]]] = [(self, ())]
        places += [(tier, ("tiers", number)) for number, tier in enumerate(self.tiers)]
        for part, at in places:
            for name, price in part.stated():
                if self.free and price:
                    raise wrong(f"{price} is no price of a free model: write 0, or leave `free` out", *at, name)
                if not self.free and not price:
                    raise wrong("a price has to be more than 0; a model that costs nothing needs `free: true`", *at, name)
        return self

    def rates(self) -> Rates:
        """As the ledger wants them."""
        tiers = (self.tier(self.model, 0), *(tier.tier(self.model, tier.above) for tier in self.tiers))
        return Rates(self.model, self.dated.isoformat(), tiers)


def _whole(dollars: Decimal) -> int:
    """Micro-dollars, rounded up."""
    return int((dollars * MICRO).to_integral_value(ROUND_CEILING))
