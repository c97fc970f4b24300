import pytest

from paidonce.app.errors import IdempotencyKeyMalformedError, IdempotencyKeyMissingError
from paidonce.app.idempotency.key import parse_key


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("abc-123", "abc-123"),
        ('"abc-123"', "abc-123"),
        ("  abc-123 ", "abc-123"),
        (r'"a\"b\\c"', r'a"b\c'),
        (r'a"b\c', r'a"b\c'),
        ("k" * 255, "k" * 255),
        (f'"{"k" * 255}"', "k" * 255),
        ('"' + r"\"" * 255 + '"', '"' * 255),
        ("!~", "!~"),
        ("x", "x"),
    ],
)
def test_both_spellings_are_one_key(line: str, key: str) -> None:
    assert parse_key([line]) == key


@pytest.mark.parametrize("lines", [[], [""], ["   "], ['""']])
def test_no_key(lines: list[str]) -> None:
    with pytest.raises(IdempotencyKeyMissingError):
        parse_key(lines)


@pytest.mark.parametrize(
    "line",
    [
        "k" * 256,
        f'"{"k" * 256}"',
        "a b",
        '"a b"',
        '"abc',
        '"',
        '"a"b"',
        "ü",
        "a\tb",
        "a\x00b",
        '"abc";q=1',
        r'"a\b"',
        "a\n",
    ],
)
def test_malformed_keys(line: str) -> None:
    with pytest.raises(IdempotencyKeyMalformedError):
        parse_key([line])


def test_two_lines_are_refused_even_if_they_are_equal() -> None:
    with pytest.raises(IdempotencyKeyMalformedError, match="more than one"):
        parse_key(["a", "a"])
