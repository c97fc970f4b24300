"""What does a gateway cost? Requests a second through each, beside the API alone behind it.

One API process on a durable PostgreSQL, and every gateway in front of it, configured by `paidonce gateway render`
without limits and otherwise as shipped, its log included. Only one is asked at a time; rounds take turns, and a
figure is the median of its rounds. A payment shows what a caller notices; `GET /v1/me`, for which the API asks no
server, what the gateway itself takes.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median

from paidonce.app.settings import Settings
from paidonce.bench import api, children, database
from paidonce.bench.errors import BenchError
from paidonce.bench.figures import Figure
from paidonce.bench.load import Job, Result
from paidonce.bench.samples import percentile
from paidonce.bench.stage import CONNECTIONS
from paidonce.bench.terms import Terms
from paidonce.devstack.errors import PackagesUnobtainableError
from paidonce.devstack.gateways import STARTS
from paidonce.devstack.pace import environment
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.processes import Process
from paidonce.devstack.runs import Run
from paidonce.devstack.tokens import fetch_token
from paidonce.gateway.plan import plan
from paidonce.gateway.render import KINDS
from paidonce.gateway.route_file import RouteFile

ROUNDS = 5
#: Seconds of one round, and of the round before the first, which is thrown away.
ROUND_S, WARM_S = 4.0, 2.0
ALONE = "the API alone"
#: Bytes that a gateway adds to a head at most (docs/gateways.md, "Sizes").
ADDED_BYTES = 8_192
#: Seconds of the token's life: longer than all rounds.
TTL_S = 3_600
#: What is asked: name -> request, body, status of a good answer.
ASKED = {
    "": ("POST /v1/payments", json.dumps(api.BODY), 201),
    " me": ("GET /v1/me", "", 200),
}


@dataclass(frozen=True, slots=True)
class Doors:
    """Where the API is reached: name -> port; and a token that it takes."""

    ports: Mapping[str, int]
    token: str

    @property
    def kinds(self) -> list[str]:
        """The gateways that there are here."""
        return [name for name in self.ports if name != ALONE]


def measure(terms: Terms) -> list[Figure]:
    """Return requests a second and milliseconds through each gateway.

    Raises:
        BenchError: an answer was not as it should be, or no gateway can be had here.
    """
    found: dict[tuple[str, str], list[Result]] = defaultdict(list)
    with Run() as run:
        with terms.stage("start PostgreSQL, the issuer, the API and the gateways"):
            doors = _build(run, terms)
        for number in range(ROUNDS + 1):
            with terms.stage(f"round {number} of {ROUNDS}" if number else "a round to warm up"):
                for door, asked in ((door, asked) for asked in ASKED for door in doors.ports):
                    seconds = ROUND_S if number else WARM_S
                    result = api.loaded(_job(doors, door, asked, seconds, f"bench-{door}-{number}"), door)
                    if number:
                        found[door, asked].append(result)
    busiest = max(result.cpu_share for result in chain(*found.values()))
    terms.console.print(f"the generator used at most {busiest:.0%} of a core", highlight=False)
    return [figure for kind in doors.kinds for asked in ASKED for figure in _figures(kind, asked, found)]


def _build(run: Run, terms: Terms) -> Doors:
    server = database.start(run)
    issuer_port, api_port = free_port(), free_port()
    issuer = f"http://{LOOPBACK}:{issuer_port}"
    told = {"PAIDONCE_ISSUER_PORT": str(issuer_port), "PAIDONCE_ISSUER_FOLDER": str(run.folder / "issuer")}
    _wait(_ours(run, "issuer", told), issuer_port)
    own = {"dsn": database.fresh(server.dsn, "gateways"), "issuer": issuer, "api_connections_max": CONNECTIONS}
    own |= {"api_port": api_port, "api_gateway_head_bytes": ADDED_BYTES}
    _wait(_ours(run, "api", environment(own)), api_port)
    ports = {ALONE: api_port}
    for kind, start in STARTS.items():
        port = free_port()
        try:
            start(run, _rendered(run, kind, port, api_port, issuer), port=port)
        except PackagesUnobtainableError as error:
            terms.console.print(f"{kind} is left out: {error}", highlight=False, markup=False)
        else:
            ports[kind] = port
    if len(ports) == 1:
        raise BenchError(f"none of {', '.join(STARTS)} can be had here: each has said why")
    return Doors(ports, fetch_token(issuer, ttl=TTL_S))


def _rendered(run: Run, kind: str, port: int, api_port: int, issuer: str) -> Path:
    # Its workers may run under another account.
    folder = run.folder / kind
    folder.mkdir(mode=0o711)
    service = {
        "name": "paidonce",
        "prefix": "/",
        "policy": "paidonce",
        "upstreams": [f"http://{LOOPBACK}:{api_port}"],
        "claim_headers": {"X-User-Id": "sub", "X-Scopes": "scope", "X-Tenant": "tenant"},
    }
    document = {"gateway": {"listen": f"{LOOPBACK}:{port}"}, "services": [service]}
    settings = Settings(issuer=issuer, jwks_url=f"{issuer}/.well-known/jwks.json")
    KINDS[kind](plan(RouteFile.model_validate(document), settings), folder)
    return folder


def _ours(run: Run, name: str, env: Mapping[str, str]) -> Process:
    return children.start(run, name, [sys.executable, "-m", "paidonce.cli", name], env)


def _wait(process: Process, port: int) -> None:
    children.wait_answer(process, f"http://{LOOPBACK}:{port}/healthz")


def _job(doors: Doors, door: str, asked: str, seconds: float, key_prefix: str) -> Job:
    request, body, status = ASKED[asked]
    return Job(
        host=LOOPBACK,
        port=doors.ports[door],
        token=doors.token,
        request=request,
        status=status,
        body=body,
        connections=CONNECTIONS,
        seconds=seconds,
        key_prefix=key_prefix.replace(" ", "-"),
        keys=0,
        expected="",
    )


def _figures(kind: str, asked: str, found: Mapping[tuple[str, str], list[Result]]) -> list[Figure]:
    ours, alone = _summary(found[kind, asked]), _summary(found[ALONE, asked])
    return [
        Figure(f"gateway {kind}{asked}{part}", unit, ours[part], ALONE, alone[part])
        for part, unit in (("", "requests/s"), (" p50", "ms"), (" p99", "ms"))
    ]


def _summary(results: list[Result]) -> dict[str, float]:
    took_ms = [latency / 1_000 for result in results for latency in result.latencies_us]
    rate = median(result.good / result.seconds for result in results)
    return {
        "": round(rate, 1),
        " p50": round(percentile(took_ms, 0.50), 2),
        " p99": round(percentile(took_ms, 0.99), 2),
    }
