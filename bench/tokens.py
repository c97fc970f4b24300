"""What does it cost to check a token? Ours beside joserfc alone, PyJWT, and the bare RSA check under all of them.

Each checks the same tokens, every one for the first time, as a process does that has just started; then ours and PyJWT
get one of them again and again, as from a client that uses its token for minutes. Rounds of all take turns, and a
figure is the median of its rounds. It is time of the processor, so that a neighbour costs less than a round would
say. Nothing goes over a network: the key set is on disk.
"""

import asyncio
import gc
import json
import os
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey

from paidonce.app.auth.keyset_file import Kept, KeySetFile
from paidonce.app.auth.trust import Trust
from paidonce.app.auth.verifier import Verifier
from paidonce.app.clock import SystemClock
from paidonce.app.main import COLLECT_AFTER
from paidonce.app.settings import Settings
from paidonce.bench import children
from paidonce.bench.figures import Figure
from paidonce.bench.terms import Terms
from paidonce.devstack.runs import Run

ROUNDS = 5
#: Below VERIFIED_MAX (app/auth/verifier.py): none of them is forgotten while it is measured.
TOKENS = 4_000
#: Tokens before those, which do not count: imports, first allocations.
WARM_UP = 200
#: Seconds for one round of one peer: a hundred times what it takes.
WITHIN_S = 60.0
ISSUER = "https://issuer.example"
#: An hour, so that no round meets an expired token.
TTL_S = 3_600
PEERS = ("joserfc", "PyJWT", "RSA alone")


def measure(terms: Terms) -> list[Figure]:
    """Return microseconds of the processor a token, first seen and seen again."""
    with Run() as run:
        with terms.stage(f"sign {TOKENS:,} tokens"):
            key = RSAKey.generate_key(2048, parameters={"kid": "bench"})
            job = {
                "issuer": ISSUER,
                "audience": Settings.model_fields["audience"].default,
                "leeway_s": Settings.model_fields["token_skew_s"].default,
                "key": key.as_dict(private=False),
                "tokens": str(_written(run.folder, signed(key, WARM_UP + TOKENS))),
                "warm_up": WARM_UP,
                "collect_after": COLLECT_AFTER,
                "jwks_folder": str(run.folder / "jwks"),
            }
        keep(run.folder / "jwks", ISSUER, key, age=timedelta(minutes=1))
        found: dict[str, list[dict[str, float]]] = defaultdict(list)
        for number in range(ROUNDS):
            with terms.stage(f"round {number + 1} of {ROUNDS}"):
                started = {"ours": partial(children.program, run, "paidonce.bench.tokens", job)}
                started |= {peer: partial(children.peer, run, "tokens_app.py", job | {"peer": peer}) for peer in PEERS}
                for name, start in started.items():
                    found[name].append(children.result(start(), within_s=WITHIN_S))
    return _figures(found)


def signed(key: RSAKey, count: int, issuer: str = ISSUER) -> list[str]:
    """Return so many tokens, each another."""
    now = int(time.time())
    claims: dict[str, Any] = {"iss": issuer, "aud": "paidonce", "sub": "acme-development", "tenant": "acme"}
    claims |= {"scope": "payments:read payments:write payments:refund", "roles": ["admin"], "client_id": "acme"}
    claims |= {"iat": now, "nbf": now, "exp": now + TTL_S}
    header = {"alg": "RS256", "typ": "at+jwt", "kid": "bench"}
    return [jwt.encode(header, claims | {"jti": f"{number:032}"}, key) for number in range(count)]


def _written(folder: Path, tokens: Sequence[str]) -> Path:
    path = folder / "tokens.txt"
    path.write_text("\n".join(tokens))
    return path


def key_set(key: RSAKey) -> bytes:
    """Return what an issuer with this one key publishes."""
    return json.dumps({"keys": [key.as_dict(private=False) | {"use": "sig", "alg": "RS256"}]}).encode()


def keep(folder: Path, issuer: str, key: RSAKey, *, age: timedelta) -> None:
    """Keep the issuer's key set on disk as the API would have so long ago."""
    KeySetFile(folder, issuer).save(Kept(key_set(key), SystemClock().now() - age, None))


async def _ours(job: dict[str, Any], tokens: list[str]) -> dict[str, float]:
    """Check them as the API does: from the header's line to the principal."""
    warm_up = job["warm_up"]
    settings = Settings(issuer=job["issuer"], jwks_folder=Path(job["jwks_folder"]))
    trust = Trust(settings)
    await trust.open()
    verifier = Verifier(settings, trust)
    lines = [[b"Bearer " + token.encode()] for token in tokens]
    for line in lines[:warm_up]:
        await verifier.verify(line)
    _spare_the_collector()
    began = process_time()
    for line in lines[warm_up:]:
        await verifier.verify(line)
    first_s = process_time() - began
    began = process_time()
    for _ in lines[warm_up:]:
        await verifier.verify(lines[-1])
    again_s = process_time() - began
    await trust.close()
    us = 1e6 / len(lines[warm_up:])
    return {"first": first_s * us, "again": again_s * us}


def _spare_the_collector() -> None:
    """Let it pass over what is there already, and come as seldom as in the API; the peers do the same."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def _figures(found: dict[str, list[dict[str, float]]]) -> list[Figure]:
    def one(name: str, which: str) -> float:
        return round(median(each[which] for each in found[name]), 2)

    first = [Figure("token", "µs", one("ours", "first"), peer, one(peer, "first")) for peer in PEERS]
    return [*first, Figure("token again", "µs", one("ours", "again"), "PyJWT", one("PyJWT", "again"))]


if __name__ == "__main__":
    given = json.loads(os.environ["BENCH_JOB"])
    print(json.dumps(asyncio.run(_ours(given, Path(given["tokens"]).read_text().split()))))
