"""Which JSON do all readers understand alike?"""

import pytest

from paidonce.app.auth.strict_json import DEPTH_MAX, parse_object


def nested(depth: int) -> bytes:
    return b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1)


def test_an_object_is_read():
    assert parse_object('{"a": [1, {"b": "é"}]}'.encode()) == {"a": [1, {"b": "é"}]}


def test_depth_is_counted_and_brackets_are_not():
    assert parse_object(nested(DEPTH_MAX))
    assert parse_object(b'{"a": ["[[[[[[[[[[[[", "\\"{{{{{{{{{{{{"]}')
    assert parse_object(b'{"a": [' + b"[]," * 50 + b"[]]}")


@pytest.mark.parametrize(
    "raw",
    [
        nested(DEPTH_MAX + 1),
        b"[" * 100_000,
        b'{"a": "' + b"[" * 20,
        b'{"a": 1, "a": 1}',
        b'{"a": {"b": 1, "\\u0062": 2}}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b"",
        b"null",
        b"[]",
        b"{} {}",
        b'{"a": 01}',
        b"{'a': 1}",
        b'{"a": "\n"}',
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_refused(raw):
    with pytest.raises(ValueError, match=r"."):
        parse_object(raw)
