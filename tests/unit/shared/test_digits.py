"""Which texts are whole numbers."""

import pytest

from shared.digits import digits


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("7", 7), ("007", 7), ("123", 123)])
def test_digits_are_a_number(text: str, number: int) -> None:
    assert digits(text, 3) == number


@pytest.mark.parametrize("text", ["", "-1", "+1", " 1", "1_0", "1.0", "0x1", "٣", "²", "1234", "1" * 10_000])
def test_nothing_else_is_one(text: str) -> None:
    assert digits(text, 3) is None
