"""What does a library's own check of a token cost? Signature, issuer, audience and times, as its documentation has it.

`RSA alone` is the cryptography library's check of one signature over bytes that are there: no base64, no JSON, no
claims. Everything else that anyone does comes on top of it.
"""

import gc
import json
import os
from base64 import urlsafe_b64decode
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import jwt as pyjwt
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from joserfc import jwt
from joserfc.jwk import RSAKey

JOB = json.loads(os.environ["BENCH_JOB"])


def joserfc() -> Callable[[str], object]:
    """Return joserfc's check."""
    key = RSAKey.import_key(JOB["key"])
    rules = jwt.JWTClaimsRegistry(
        leeway=JOB["leeway_s"],
        iss={"essential": True, "value": JOB["issuer"]},
        aud={"essential": True, "value": JOB["audience"]},
        exp={"essential": True},
    )

    def check(token: str) -> None:
        rules.validate(jwt.decode(token, key, algorithms=["RS256"]).claims)

    return check


def py_jwt() -> Callable[[str], object]:
    """Return PyJWT's check."""
    key = pyjwt.PyJWK(JOB["key"] | {"alg": "RS256"}).key

    def check(token: str) -> None:
        pyjwt.decode(
            token, key, algorithms=["RS256"], audience=JOB["audience"], issuer=JOB["issuer"], leeway=JOB["leeway_s"]
        )

    return check


def rsa() -> Callable[[tuple[bytes, bytes]], object]:
    """Return the bare check of a signature over a signing input."""
    key = RSAKey.import_key(JOB["key"]).public_key
    assert isinstance(key, RSAPublicKey)
    padding, digest = PKCS1v15(), SHA256()
    return lambda parts: key.verify(parts[1], parts[0], padding, digest)


def parted(token: str) -> tuple[bytes, bytes]:
    """Return what was signed, and its signature."""
    signed, _, signature = token.rpartition(".")
    return signed.encode(), urlsafe_b64decode(signature + "==")


def timed(check: Callable[..., object], tokens: list[Any]) -> float:
    """Return microseconds a token."""
    began = process_time()
    for token in tokens:
        check(token)
    return (process_time() - began) / len(tokens) * 1e6


if __name__ == "__main__":
    given: list[Any] = Path(JOB["tokens"]).read_text().split()
    if JOB["peer"] == "RSA alone":
        given = [parted(token) for token in given]
    checks: dict[str, Callable[[], Callable[..., object]]] = {"joserfc": joserfc, "PyJWT": py_jwt, "RSA alone": rsa}
    chosen = checks[JOB["peer"]]()
    timed(chosen, given[: JOB["warm_up"]])
    measured = given[JOB["warm_up"] :]
    gc.freeze()
    gc.set_threshold(JOB["collect_after"])
    print(json.dumps({"first": timed(chosen, measured), "again": timed(chosen, [measured[-1]] * len(measured))}))
