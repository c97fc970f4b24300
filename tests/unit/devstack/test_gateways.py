"""Can every gateway that is written be started?"""

from paidonce.devstack.gateways import STARTS
from paidonce.gateway.render import KINDS


def test_every_kind_has_a_start() -> None:
    assert set(STARTS) == set(KINDS)
