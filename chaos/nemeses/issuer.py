"""What is done to the issuer? It gets a new signing key, at once and unannounced, while customers pay.

That it is away, or dies, is what processes.py does to any of ours.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from joserfc import jws

from paidonce.app.clock import SystemClock
from paidonce.chaos.arena import Arena, DidNotFireError
from paidonce.chaos.schedule import Planned
from paidonce.devstack.errors import TooLateError
from paidonce.devstack.issuer import key_file
from paidonce.devstack.members import issuer_folder
from paidonce.devstack.waiting import until

#: Seconds within which every replica takes a token of the new key: one fetch of the key set by an unknown key id.
KNOWN_WITHIN_S = 20.0
#: Seconds for one question to a replica.
ANSWER_S = 5.0


@contextmanager
def rotate_keys(arena: Arena, _planned: Planned) -> Iterator[str]:
    """As `paidonce issuer rotate --at-once` does; tokens of the new key must be taken, and of the old one still."""
    old = arena.product.token()
    key_file.rotate(issuer_folder(arena.stack.run.folder), SystemClock().now(), at_once=True)
    new = arena.product.token()
    if _kid(new) == _kid(old):
        raise DidNotFireError(f"the issuer still signs with {_kid(old)}")
    for api in arena.product.addresses.apis:
        _is_taken(api, new, "new")
        _is_taken(api, old, "old")
    yield f"{_kid(new)} signs in place of {_kid(old)}; every replica takes tokens of both"


def _kid(token: str) -> str:
    return str(jws.extract_compact(token.encode()).headers()["kid"])


def _is_taken(api: str, token: str, which: str) -> None:
    def answered() -> bool:
        try:
            answer = httpx.get(
                api + "/v1/me", headers={"Authorization": f"Bearer {token}"}, timeout=ANSWER_S, trust_env=False
            )
        except httpx.TransportError:
            return False
        return answer.status_code == httpx.codes.OK

    try:
        until(answered, within_s=KNOWN_WITHIN_S, what=f"{api} to take a token of the {which} key")
    except TooLateError as error:
        raise DidNotFireError(str(error)) from error
