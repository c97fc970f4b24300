"""What is the gateways' Lua told?"""

from paidonce.gateway.lua_config import unprintable


def test_the_characters_that_cannot_be_shown_are_pythons() -> None:
    ranges = list(unprintable())
    assert ranges == sorted(ranges)
    hidden = {point for first, last in zip(ranges[::2], ranges[1::2], strict=True) for point in range(first, last + 1)}
    assert hidden == {point for point in range(0x80, 0x110000) if not chr(point).isprintable()}
