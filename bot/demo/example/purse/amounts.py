"""Amounts as text and as cents."""


def parse_amount(text: str) -> int:
    """Cents of an amount such as `12`, `12.5` or `12.50`.

    Raises:
        ValueError: not an amount, or more than two decimals.
    """
    whole, _, cents = text.strip().replace(",", "").partition(".")
    if not whole.isdigit() or (cents and not cents.isdigit()) or len(cents) > 2:
        raise ValueError(f"not an amount: {text!r}")
    return int(whole) * 100 + int(cents.ljust(2, "0"))


def format_amount(cents: int) -> str:
    """`1250` as `12.50`."""
    return f"{cents // 100}.{cents % 100:02}"
