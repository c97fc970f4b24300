"""Which key signs, and which does the key set show, before, during and after a rotation?"""

import stat
from datetime import UTC, datetime, timedelta

import pytest
from joserfc.jwk import RSAKey

from paidonce.app.auth.keyset import MAX_AGE_LEAST_S, REFRESH_AT
from paidonce.app.errors import ConfigurationError
from paidonce.devstack.issuer import key_file
from paidonce.devstack.issuer.configuration import TTL_MAX_S
from paidonce.devstack.issuer.key_file import ANNOUNCED, RETIRING, rotate
from paidonce.devstack.issuer.signing import kept_in

ISS = "http://iss"
START = datetime(2026, 1, 1, tzinfo=UTC)
A_MOMENT = timedelta(seconds=1)
CLAIMS = {"iss": ISS, "exp": 1}


class SetClock:
    def __init__(self):
        self.time = START

    def now(self):
        return self.time

    def monotonic(self):
        raise NotImplementedError


@pytest.fixture
def clock():
    return SetClock()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def keys(folder, clock):
    return kept_in(folder, clock)


def kids(keys) -> set[str]:
    return {key.kid for key in keys.published()}


def test_a_new_key_is_announced_before_it_signs_and_the_old_stays_until_its_last_token_is_over(keys, folder, clock):
    old, token = keys.current().kid, keys.current().sign(CLAIMS)
    new = rotate(folder, clock.now()).kid
    assert kids(keys) == {old, new}, "the running issuer sees it"
    clock.time = START + ANNOUNCED - A_MOMENT
    assert keys.current().kid == old
    clock.time = START + ANNOUNCED
    assert keys.current().kid == new
    clock.time = START + ANNOUNCED + RETIRING - A_MOMENT
    assert kids(keys) == {old, new}
    assert keys.claims(token, ISS) == CLAIMS
    clock.time += A_MOMENT
    assert kids(keys) == {new}
    assert keys.claims(token, ISS) is None


def test_the_overlap_is_longer_than_a_token_and_the_announcement_than_a_verifier_s_cache():
    assert RETIRING.total_seconds() > TTL_MAX_S
    assert ANNOUNCED.total_seconds() >= key_file.JWKS_AGE_S
    assert REFRESH_AT * max(key_file.JWKS_AGE_S, MAX_AGE_LEAST_S) < ANNOUNCED.total_seconds()


def test_at_once_signs_with_the_new_key_and_keeps_the_old(keys, folder, clock):
    old, token = keys.current().kid, keys.current().sign(CLAIMS)
    new = rotate(folder, clock.now(), at_once=True).kid
    assert keys.current().kid == new
    assert kids(keys) == {old, new}
    assert keys.claims(token, ISS) == CLAIMS


def test_drop_takes_the_old_keys_away(keys, folder, clock):
    token = keys.current().sign(CLAIMS)
    rotate(folder, clock.now(), at_once=True)
    new = rotate(folder, clock.now(), drop=True).kid
    assert kids(keys) == {new}
    assert keys.current().kid == new
    assert keys.claims(token, ISS) is None


def test_a_second_rotation_waits_for_the_first_unless_it_is_at_once(keys, folder, clock):
    announced = rotate(folder, clock.now()).kid
    with pytest.raises(ConfigurationError, match="announced already"):
        rotate(folder, clock.now())
    new = rotate(folder, clock.now(), at_once=True).kid
    assert announced not in kids(keys)
    clock.time = START + 2 * ANNOUNCED
    assert keys.current().kid == new, "the one that was announced does not come back"


def test_keys_that_are_over_leave_the_file(keys, folder, clock):
    for _ in range(4):
        rotate(folder, clock.now())
        clock.time += ANNOUNCED + RETIRING
    rotate(folder, clock.now())
    assert len(key_file.read(folder)) == 2


def test_the_file_is_private_and_whole(keys, folder, clock):
    rotate(folder, clock.now())
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_key_of_an_earlier_version_goes_on_signing(folder, clock):
    folder.mkdir()
    old = RSAKey.generate_key(2048)
    (folder / key_file.PEM_FILE).write_bytes(old.as_pem(private=True))
    assert kept_in(folder, clock).current().kid == old.thumbprint()
    assert kept_in(folder, clock).current().kid == old.thumbprint()


def test_where_no_issuer_keeps_keys_there_is_nothing_to_rotate(tmp_path):
    with pytest.raises(ConfigurationError, match="PAIDONCE_ISSUER_FOLDER"):
        rotate(tmp_path, START)


def test_nothing_private_is_published(keys):
    assert set(keys.current().public()) == {"kty", "n", "e", "kid", "use", "alg"}
