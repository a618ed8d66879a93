from purse import total


def test_adds_amounts_up() -> None:
    assert total(["12.50", "0.75"]) == 1325


def test_nothing_adds_up_to_nothing() -> None:
    assert total([]) == 0
