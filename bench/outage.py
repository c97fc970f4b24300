"""What does an issuer's outage cost? Requests refused, and fetches of its keys, beside PyJWT's own client of key sets.

An API that has its issuer's key set on disk, and is about to refresh it, starts while the issuer answers 503 to
everything; then come 10,000 requests in ten seconds, each with a token of its own. PyJWT's `PyJWKClient` had the set
as well, and is asked for the keys of the same tokens when its own time for the set is over.
"""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from joserfc.jwk import RSAKey

from paidonce.app.settings import Settings
from paidonce.bench import api, children, database, tokens
from paidonce.bench.figures import Figure
from paidonce.bench.load import Job, Result
from paidonce.bench.terms import Terms
from paidonce.devstack.pace import environment
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.postgres import start_postgres
from paidonce.devstack.processes import Process
from paidonce.devstack.runs import Run
from paidonce.devstack.waiting import until

REQUESTS = 10_000
#: A second, so that the outage lasts for several steps of the back-off; and seconds until that is given up.
RATE, WITHIN_S = 1_000.0, 120.0
CONNECTIONS = 16
#: What the API's log says once a step of the back-off.
STEP = "key set not fetched"
#: Of the key set on disk: beyond the share of its time after which it is fetched again.
AGE = timedelta(seconds=0.9 * Settings.model_fields["jwks_cache_s"].default)
#: Seconds for which PyJWT keeps a key set here; its default is 300, for which nobody wants to wait.
PEER_KEEPS_S = 1
#: Seconds for the peer: it asks the issuer for each token.
PEER_S = 300.0


@dataclass
class Issuer:
    """Its key server, which counts who asked; away, it answers 503."""

    key_set: bytes
    url: str = ""
    away: bool = False
    #: by the path that was asked for
    fetches: Counter[str] = field(default_factory=Counter)


def measure(terms: Terms) -> list[Figure]:
    """Return requests answered and refused during the outage, and fetches made."""
    key = RSAKey.generate_key(2048, parameters={"kid": "bench"})
    with Run() as run, _serving(Issuer(tokens.key_set(key))) as issuer:
        with terms.stage(f"sign {REQUESTS:,} tokens, start PostgreSQL and, without the issuer, the API"):
            signed = tokens.signed(key, REQUESTS)
            tokens.keep(run.folder / "jwks", tokens.ISSUER, key, age=AGE)
            issuer.away = True
            process, port = _api(run, issuer)
        with terms.stage(f"{REQUESTS:,} requests, {RATE:g} a second"):
            ours = _sent(port, signed)
            process.stop()
            steps = process.said().count(STEP)
        with terms.stage("the same tokens and PyJWT"):
            theirs = _peer(run, issuer, signed)
    return _figures(ours, theirs, issuer.fetches, steps)


def _api(run: Run, issuer: Issuer) -> tuple[Process, int]:
    port = free_port()
    settings = {
        "dsn": database.fresh(start_postgres(run, durable=False).dsn, "outage"),
        "issuer": tokens.ISSUER,
        "jwks_url": f"{issuer.url}/ours",
        "jwks_folder": run.folder / "jwks",
        "api_port": port,
    }
    process = children.start(run, "api", [sys.executable, "-m", "paidonce.cli", "api"], environment(settings))
    children.wait_answer(process, f"http://{LOOPBACK}:{port}/readyz")
    return process, port


def _sent(port: int, signed: list[str]) -> Result:
    job = Job(
        host=LOOPBACK,
        port=port,
        token="",
        tokens=signed,
        request="GET /v1/me",
        status=200,
        body="",
        connections=CONNECTIONS,
        seconds=WITHIN_S,
        most=REQUESTS,
        key_prefix="outage",
        keys=0,
        expected="",
        rate=RATE,
    )
    return api.sent(job)


def _peer(run: Run, issuer: Issuer, signed: list[str]) -> int:
    """Let PyJWT get the set, and be without the issuer from then on; return for how many tokens it found the key."""
    path = run.folder / "outage-tokens.txt"
    path.write_text("\n".join(signed))
    issuer.away = False
    job = {"url": f"{issuer.url}/theirs", "keeps_s": PEER_KEEPS_S, "tokens": str(path)}
    process = children.peer(run, "outage_app.py", job)

    def has_it() -> bool:
        process.check()
        return bool(issuer.fetches["/theirs"])

    until(has_it, within_s=children.START_S, what="PyJWT to fetch the key set")
    issuer.away = True
    return int(children.result(process, within_s=PEER_S)["answered"])


def _figures(ours: Result, theirs: int, fetches: Counter[str], steps: int) -> list[Figure]:
    refused = sum(ours.wrong.values())
    mine, others = fetches["/ours"], fetches["/theirs"] - 1  # its first was before the outage
    return [
        Figure("outage", "requests answered", ours.good, "PyJWT", theirs),
        Figure("outage refused", "requests", refused, "PyJWT", REQUESTS - theirs, most=0),
        Figure("outage fetches", "fetches", mine, "back-off steps", steps, most=1.0),
        Figure("outage fetches", "fetches", mine, "PyJWT", others),
    ]


@contextmanager
def _serving(issuer: Issuer) -> Iterator[Issuer]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.fetches[self.path] += 1
            body = b"" if issuer.away else issuer.key_set
            self.send_response(503 if issuer.away else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: thousands may come."""

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        issuer.url = f"http://{LOOPBACK}:{server.server_port}"
        try:
            yield issuer
        finally:
            server.shutdown()
