"""The selector of our Kafka clients finds what is registered, and never spells out what is not."""

import socket
from selectors import EVENT_READ

import pytest

from paidonce.workers.broker_selector import Selector


class Spelt(socket.socket):
    """A socket that must not be spelt out."""

    def __repr__(self) -> str:
        raise AssertionError("spelling a socket out takes two system calls")


def test_a_stranger_is_not_spelt_out() -> None:
    with Selector() as selector, Spelt() as stranger, pytest.raises(KeyError):
        selector.get_key(stranger)


def test_what_is_registered_is_found() -> None:
    with Selector() as selector, Spelt() as one, Spelt() as other:
        selector.register(one, EVENT_READ, "one")
        selector.register(other, EVENT_READ, "other")
        assert selector.get_key(other).data == "other"
        selector.unregister(other)
        with pytest.raises(KeyError):
            selector.get_key(other)
