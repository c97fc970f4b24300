"""Is anybody charged twice when the API is killed behind a gateway, and gateway and clients ask again?

The whole stack, with the gateway in front of two replicas. The witnesses are the run's own: the provider's journal,
PostgreSQL's rows, the topic.
"""

from collections import Counter
from functools import partial

import pytest

from paidonce.chaos.arena import Arena
from paidonce.chaos.carry_out import carry_out
from paidonce.chaos.plan import Faults, Load, Plan
from paidonce.chaos.report import report
from paidonce.chaos.run import PROVIDER, execute, nobody
from paidonce.chaos.schedule import schedule
from paidonce.devstack.stack import Stack

#: Two replicas and every process of the pipeline start first, on a machine that may be busy.
pytestmark = [pytest.mark.gateway, pytest.mark.timeout(400)]
PAYMENTS = 200
TARGETS = ("api-1", "api-2") * 3
SEED = 7
PLAN = Plan(name="gateway-kills", says="", load=Load(payments=PAYMENTS), faults=(Faults(kind="kill", targets=TARGETS),))


def behind(here, stack):
    """The gateway in front of both replicas; a keyed POST without an answer is sent again where the gateway can."""
    issuer = {"issuer": stack.addresses.issuer, "jwks_url": stack.addresses.jwks}
    service = here.paidonce(here.Server(here.echo)) | {"upstreams": stack.addresses.apis, "repeat_keyed": True}
    return here.start(stack.run, {"issuers": [issuer], "services": [service]})


def test_each_is_charged_once(here, tmp_path):
    with Stack(replicas=2, overrides=PROVIDER) as stack:
        gateway = behind(here, stack)

        def kill(stack, began, told):
            return carry_out(Arena(stack, tmp_path), schedule(PLAN, SEED, PLAN.load.lasts_s), began, told)

        run = partial(execute, stack, tmp_path, nobody(), plan=PLAN, seed=SEED)
        found = report(run(make_faults=kill, apis=[gateway.url]))
        repeated = gateway.figure('envoy_cluster_upstream_rq_retry{envoy_cluster_name="service_paidonce"}')
    kills = found.figures["tried"]["faults"]
    assert Counter(kill["target"] for kill in kills) == Counter(TARGETS)
    assert all(kill["fired"] for kill in kills)
    assert sum(kill["requests_under_way"] for kill in kills) > 0
    # Envoy sent again what the killed replica had, and the clients did too.
    assert repeated > 0 or here.kind == "NGINX"
    assert found.figures["found"]["replays"] > 0
    captures = Counter(charge.reference for charge in found.result.facts.charges if charge.status == "captured")
    assert len(captures) >= PAYMENTS // 2
    assert {payment: count for payment, count in captures.items() if count > 1} == {}
    broken = {finding.checker.name: finding.violations[:3] for finding in found.findings if finding.violations}
    assert broken == {}
    assert (found.verdict, list(found.reasons)) == ("valid", [])
    assert len(found.result.facts.payments) == PAYMENTS
