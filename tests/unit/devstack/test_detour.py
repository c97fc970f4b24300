"""Is an address replaced by the detour's, and nothing else of the URL?"""

import pytest

from paidonce.devstack import detour


def by_name(name: str, address: str) -> str:
    return f"{name}-of-{address}"


@pytest.mark.parametrize(
    ("name", "given", "led"),
    [
        ("provider", "http://127.0.0.1:1/a?b=c", "http://provider-of-127.0.0.1:1/a?b=c"),
        ("postgres", "postgresql://u:p%40@h:1/d", "postgresql://u:p%40@postgres-of-h:1/d"),
        ("valkey", "redis://:p@h:1/0", "redis://:p@valkey-of-h:1/0"),
        ("postgres", "postgresql://u@h:1,i:2/d?x=y", "postgresql://u@postgres-1-of-h:1,postgres-2-of-i:2/d?x=y"),
    ],
)
def test_the_address_is_replaced_and_nothing_else(name: str, given: str, led: str) -> None:
    assert detour.url(by_name, name, given) == led
    assert detour.url(detour.straight, name, given) == given
