"""Under which name is a caller counted, and which quotas can be set?"""

import pytest
from pydantic import ValidationError

from paidonce.app.auth.rate_limit import digest
from paidonce.app.settings import Settings


def test_no_two_callers_share_a_name():
    callers = [("a", "b/c"), ("a/b", "c"), ("a", "b", "c"), ("ab", "c"), ("a", "bc"), ("a",), ("", "a"), ("a", "")]
    assert len({digest(caller) for caller in callers}) == len(callers)
    assert digest(("a", "b")) == digest(("a", "b"))


@pytest.mark.parametrize("rate", ["", "1/second", "600/minute", "100/10second", "5/day", "999999999/99999hour"])
def test_a_quota_can_be_set(rate):
    assert Settings(rate_limit_subject=rate, rate_limit_tenant=rate).rate_limit_tenant == rate


@pytest.mark.parametrize(
    "rate", ["0/second", "1", "1/fortnight", "1 per minute; 5 per day", "-1/day", "1/0second", "x"]
)
def test_what_is_no_quota_is_refused(rate):
    with pytest.raises(ValidationError):
        Settings(rate_limit_subject=rate)
