"""Does the verifier answer every row of the attack table as the table says, and why it says?"""

from collections import Counter

import pytest
from structlog.testing import capture_logs

from paidonce.app.auth.trust import Trust
from paidonce.app.auth.verifier import Verifier
from paidonce.app.errors import InvalidTokenError, MissingTokenError


@pytest.fixture
async def verifier(auth_settings, key_server, parties):
    key_server.publish(*parties.key_set())
    trust = Trust(auth_settings)
    await trust.open()
    yield Verifier(auth_settings, trust)
    await trust.close()


async def test_the_table(attack, verifier, parties):
    lines = attack.make(parties).lines()
    if attack.status == 200:
        assert (await verifier.verify(lines)).tenant == "acme"
        return
    for _ in range(2):  # a refused token must not be remembered as a good one
        with pytest.raises((InvalidTokenError, MissingTokenError)) as refused:
            await verifier.verify(lines)
    assert getattr(refused.value, "reason", "").startswith(attack.why)
    assert refused.value.status == attack.status
    assert refused.value.headers == {"WWW-Authenticate": attack.challenge}


def test_the_table_is_one(attack_table):
    names = Counter(attack.name for attack in attack_table)
    assert [name for name, count in names.items() if count > 1] == []
    assert sum(attack.status != 200 for attack in attack_table) >= 60


async def test_text_is_read_as_bytes_are(verifier, issuer):
    assert (await verifier.verify(["Bearer  " + issuer.token().decode()])).sub == "joe"
    with pytest.raises(InvalidTokenError):
        await verifier.verify(["Bearer é\ud800" + issuer.token().decode()])


async def test_nothing_but_the_principal_travels_on(verifier, issuer):
    token = issuer.with_claims(scope="a  b", roles=["r"], client_id="shop", email="joe@example.com")
    principal = await verifier.verify([b"Bearer " + token])
    assert (principal.sub, principal.tenant, principal.client_id) == ("joe", "acme", "shop")
    assert (principal.scopes, principal.roles) == (frozenset("ab"), frozenset("r"))
    assert "example.com" not in repr(principal)


async def test_the_reason_is_logged_and_the_token_is_not(verifier, issuer):
    token = issuer.with_claims(sub=7)
    with capture_logs() as lines, pytest.raises(InvalidTokenError):
        await verifier.verify([b"Bearer " + token])
    assert [line["reason"] for line in lines] == ["sub: not a short text"]
    assert token.decode()[:40] not in repr(lines)
