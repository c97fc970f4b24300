"""Is any signature of Project Wycheproof's accepted that should not be, or refused that should not be?

Its vectors for RSASSA-PKCS1-v1_5 with SHA-256, which is RS256, are in wycheproof/, as published and under their own
licence (docs/decisions/0016-wycheproof-in-the-repository.md). They sign short texts and no tokens, so they meet what is
under the verifier: our reading of a key, and the library's check. Its vectors for JSON Web Signature meet the
verifier itself: PAIDONCE_WYCHEPROOF_JWS names their file, `json_web_signature_test.json`.
"""

import hashlib
import json
import os
from pathlib import Path

import pytest
from joserfc.jws import JWSRegistry

from paidonce.app.auth.jwks import usable_keys
from paidonce.app.auth.token import ALGORITHM, Token
from paidonce.app.auth.verifier import check_signature
from paidonce.app.errors import InvalidTokenError

FOLDER = Path(__file__).parent / "wycheproof"
SHA256 = {
    "rsa_signature_2048_sha256_test.json": "94a917b01ff50fb874cfc05bf29b4af44868d944a6558201cf18380da93fb393",
    "rsa_signature_3072_sha256_test.json": "0f5f18cabfaad3e2792e82f7e9882f8999049b456714de924b8a5e202f61ca43",
    "rsa_signature_4096_sha256_test.json": "957aca128e30bd02c8982f8ca482d6521d16683f4bbc3f193cdfd4c8f04bc667",
}
#: Valid ones by Wycheproof's word that we refuse: their public exponent is 3, and ours is 65537 at least.
REFUSED_KEYS_EXPONENT = 65_537
JWS = os.environ.get("PAIDONCE_WYCHEPROOF_JWS")


def usable(jwk: dict):
    """Return the key as our key set reads it; None when it would not use it."""
    return usable_keys(json.dumps({"keys": [jwk | {"kid": "k"}]}).encode()).get("k")


@pytest.mark.parametrize(("name", "sha256"), SHA256.items())
def test_signatures(name, sha256):
    raw = (FOLDER / name).read_bytes()
    assert hashlib.sha256(raw).hexdigest() == sha256, "not the file as published"
    wrong, accepted = [], 0
    for group in json.loads(raw)["testGroups"]:
        key = usable(group["keyJwk"])
        assert (key is None) == (int(group["publicKey"]["publicExponent"], 16) < REFUSED_KEYS_EXPONENT)
        for test in group["tests"]:
            checked = key is not None and JWSRegistry.algorithms[ALGORITHM].verify(
                bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"]), key
            )
            accepted += checked
            # "acceptable" is a block without its NULL: we take it as invalid
            if key is not None and checked != (test["result"] == "valid"):
                wrong.append((test["tcId"], test["result"], test["comment"]))
    assert wrong == []
    assert accepted >= 6, "good signatures are accepted"


def accepts(group: dict, test: dict) -> bool:
    """Tell whether our verifier accepts a JWS under the group's key."""
    key = usable(group.get("public", group.get("private")))
    raw = test["jws"] if isinstance(test["jws"], str) else json.dumps(test["jws"])
    if key is None:
        return False
    try:
        check_signature(Token("k", raw.encode(), {}), key)
    except InvalidTokenError:
        return False
    return True


def wrong_answers(document: dict) -> list:
    """Return the vectors that are answered wrongly; those of other algorithms than ours are to be refused, all."""
    return [
        (test["tcId"], test["result"], test.get("comment"))
        for group in document["testGroups"]
        for test in group["tests"]
        if accepts(group, test) != (test["result"] == "valid" and group.get("public", {}).get("alg") == ALGORITHM)
    ]


@pytest.mark.skipif(JWS is None, reason="PAIDONCE_WYCHEPROOF_JWS does not name json_web_signature_test.json")
def test_json_web_signatures():
    document = json.loads(Path(str(JWS)).read_bytes())
    assert document["numberOfTests"] == sum(len(group["tests"]) for group in document["testGroups"]) > 400
    assert wrong_answers(document) == []


def test_a_wrong_answer_would_be_seen(issuer, stranger):
    """The reader of that file, on a small one of our own in its form."""

    def document(**result: str) -> dict:
        tests = [
            {"tcId": 1, "jws": issuer.token().decode(), "result": result["good"]},
            {"tcId": 2, "jws": stranger.token().decode(), "result": result["bad"]},
            {"tcId": 3, "jws": {"payload": "e30", "signatures": []}, "result": "invalid"},
        ]
        other = {"public": issuer.jwk(alg="RS512"), "tests": [{"tcId": 4, "jws": "a.b.c", "result": "valid"}]}
        return {"testGroups": [{"public": issuer.jwk(), "tests": tests}, other]}

    assert wrong_answers(document(good="valid", bad="invalid")) == []
    assert [row[0] for row in wrong_answers(document(good="invalid", bad="valid"))] == [1, 2]
