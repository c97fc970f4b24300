"""Entity tags: which headers are lists of them, and when one matches."""

import pytest

from paidonce.app.api.conditions import ANY, check_match, check_none_match, etag_of, matches_weakly, require_match, tags
from paidonce.app.api.problems import InvalidHeaderError
from paidonce.app.errors import PreconditionFailedError, PreconditionRequiredError


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], None),
        (["*"], ANY),
        ([" * "], ANY),
        (['"a"'], ('"a"',)),
        (['W/"a"'], ('W/"a"',)),
        (['""'], ('""',)),
        (['"a","b" , W/"c"'], ('"a"', '"b"', 'W/"c"')),
        (['"a,b"'], ('"a,b"',)),
        (['"a"', '"b"'], ('"a"', '"b"')),
        ([', "a",, "b",'], ('"a"', '"b"')),
        (['"\xe9"'], ('"\xe9"',)),
    ],
)
def test_lists(lines, found):
    assert tags("If-Match", lines) == found


@pytest.mark.parametrize("line", ["", ",", "a", '"a', 'a"', '"a" "b"', 'w/"a"', 'W/ "a"', '"a", *', '"a"b', '"a b"c'])
def test_what_is_no_list(line):
    with pytest.raises(InvalidHeaderError, match="If-None-Match"):
        tags("If-None-Match", [line])


@pytest.mark.parametrize(
    ("if_match", "etag", "fits"),
    [
        (None, '"a"', True),
        (None, None, True),
        (ANY, '"a"', True),
        (ANY, None, False),
        (('"b"', '"a"'), '"a"', True),
        (('"b"',), '"a"', False),
        (('W/"a"',), '"a"', False),
        (('"a"',), None, False),
    ],
)
def test_if_match_is_strong(if_match, etag, fits):
    if fits:
        check_match(if_match, etag)
    else:
        with pytest.raises(PreconditionFailedError):
            check_match(if_match, etag)


@pytest.mark.parametrize(
    ("if_none_match", "etag", "same"),
    [
        (None, '"a"', False),
        (ANY, '"a"', True),
        (ANY, None, False),
        (('W/"a"',), '"a"', True),
        (('"b"', '"a"'), 'W/"a"', True),
        (('"b"',), '"a"', False),
        (('"a"',), None, False),
    ],
)
def test_if_none_match_is_weak(if_none_match, etag, same):
    assert matches_weakly(if_none_match, etag) is same
    if same:
        with pytest.raises(PreconditionFailedError):
            check_none_match(if_none_match, etag)
    else:
        check_none_match(if_none_match, etag)


def test_a_required_header_must_be_there():
    assert require_match(ANY) == ANY
    with pytest.raises(PreconditionRequiredError):
        require_match(None)


def test_an_etag_is_of_the_bytes():
    assert etag_of(b"a") == etag_of(b"a") != etag_of(b"b")
    assert tags("ETag", [etag_of(b"a")]) == (etag_of(b"a"),)
