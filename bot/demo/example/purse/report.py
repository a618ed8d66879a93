"""Sums over many amounts."""

from collections.abc import Iterable

from purse.amounts import parse_amount


def total(amounts: Iterable[str]) -> int:
    """Sum of all amounts, in cents."""
    return sum(parse_amount(amount) for amount in amounts)
