"""What all parts of the configuration are made of."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

Dollars = Annotated[Decimal, Field(gt=0, le=10_000, allow_inf_nan=False)]
Factor = Annotated[Decimal, Field(gt=0, le=10, allow_inf_nan=False)]
Share = Annotated[Decimal, Field(gt=0, le=10, allow_inf_nan=False)]
Above = Annotated[Decimal, Field(gt=1, le=100, allow_inf_nan=False)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def wrong(reason: str, *at: str | int) -> ValidationError:
    """What a validator raises that found the mistake deeper than where it stands."""
    fault = InitErrorDetails(type=PydanticCustomError("wrong", "{reason}", {"reason": reason}), loc=at, input=None)
    return ValidationError.from_exception_data("configuration", [fault])
