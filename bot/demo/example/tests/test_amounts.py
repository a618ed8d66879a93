import pytest
from purse import format_amount, parse_amount


@pytest.mark.parametrize(("text", "cents"), [("12", 1200), ("12.5", 1250), ("12.50", 1250), ("1,200.05", 120005), ("0", 0)])
def test_parses_amounts(text: str, cents: int) -> None:
    assert parse_amount(text) == cents


@pytest.mark.parametrize("text", ["", "abc", "1.234", "1.x"])
def test_refuses_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        parse_amount(text)


def test_formats_amounts() -> None:
    assert format_amount(1250) == "12.50"
