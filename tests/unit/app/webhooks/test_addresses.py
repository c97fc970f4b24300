"""Which addresses a merchant's webhook may go to: a table."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paidonce.app.webhooks.addresses import is_public

PUBLIC = ["1.1.1.1", "9.9.9.9", "93.184.216.34", "172.15.0.1", "172.32.0.1", "192.0.1.1", "223.255.255.255"]
PUBLIC_6 = ["2606:4700::1111", "2a00:1450:4001:830::200e", "2620:fe::fe"]
PRIVATE = {
    "0.0.0.0": "this host",
    "0.1.2.3": "this network",
    "10.255.0.1": "private",
    "100.64.0.1": "carrier-grade NAT",
    "100.100.100.200": "a cloud's metadata",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "169.254.169.254": "link-local, metadata",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.192": "a cloud's metadata",
    "192.0.2.1": "documentation",
    "192.88.99.1": "6to4 relay",
    "192.168.0.1": "private",
    "198.18.0.1": "benchmarks",
    "198.51.100.1": "documentation",
    "203.0.113.1": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::7f00:1": "IPv4-compatible loopback",
    "::ffff:127.0.0.1": "IPv4-mapped loopback",
    "::ffff:8.8.8.8": "IPv4-mapped, even of a public address",
    "64:ff9b::7f00:1": "NAT64 of loopback",
    "64:ff9b::808:808": "NAT64, even of a public address",
    "64:ff9b:1::1": "local NAT64",
    "100::1": "discard",
    "2001::1": "Teredo",
    "2001:db8::1": "documentation",
    "2002:7f00:1::1": "6to4 of loopback",
    "3fff::1": "documentation",
    "5f00::1": "segment routing",
    "fc00::1": "unique local",
    "fd12:3456::1": "unique local",
    "fe80::1": "link-local",
    "fe80::1%eth0": "link-local with a zone",
    "fec0::1": "site-local",
    "fd00:ec2::254": "a cloud's metadata",
    "ff02::1": "multicast",
}


@pytest.mark.parametrize("address", PUBLIC + PUBLIC_6)
def test_public(address) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(("address", "why"), PRIVATE.items())
def test_not_public(address, why) -> None:
    assert not is_public(ip_address(address)), why


@given(st.ip_addresses())
def test_nothing_that_the_standard_library_calls_special_is_public(address) -> None:
    # the library's own list is a second witness, and knows exceptions (PCP, TURN anycast) that we refuse
    if is_public(address):
        assert address.is_global
        assert not any((address.is_multicast, address.is_loopback, address.is_link_local, address.is_unspecified))


@given(st.integers(0, 2**32 - 1))
def test_no_ipv6_address_that_has_an_ipv4_address_inside_is_public(number) -> None:
    for network in ("::/96", "::ffff:0:0/96", "64:ff9b::/96"):
        assert not is_public(ip_network(network)[number])
    assert not is_public(ip_address((0x2002 << 112) + (number << 80) + 1))
