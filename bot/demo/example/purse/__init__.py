"""Amounts of money, in cents."""

from purse.amounts import format_amount, parse_amount
from purse.report import total

__all__ = ["format_amount", "parse_amount", "total"]
