"""Which errand brings which step about? Restarts and odd requests are here, operators and Kafka beside."""

import base64
import signal
from datetime import date, timedelta
from fnmatch import fnmatch
from time import sleep
from uuid import uuid4

import httpx
from sqlalchemy import text

from paidonce.app.db import begin
from paidonce.app.messaging import partitions
from paidonce.chaos.atlas import broker_errands, operator, shadow, stripe
from paidonce.chaos.atlas.errand import Errand, wait
from paidonce.chaos.atlas.ground import Ground
from paidonce.devstack.issuer.clients import credentials

#: A day long before any retention, for partitions that nobody needs; each errand takes another.
LONG_AGO = date(2020, 1, 1)
#: Seconds of one request; struck ones have no answer.
ANSWER_S = 3.0


def restart(name: str) -> Errand:
    """Return an errand: it is stopped in order, and started again by the supervisor."""
    return _sent(name, signal.SIGTERM)


def crash(name: str) -> Errand:
    """Return an errand: it is killed, and its successor finds what it left."""
    return _sent(name, signal.SIGKILL)


def _sent(name: str, number: signal.Signals) -> Errand:
    def run(ground: Ground) -> None:
        ground.stack.kill(name, number)
        sleep(0.5)  # a moment in which it still answers that it is ready
        ground.stack.wait_ready(name)

    return run


def crash_twice(ground: Ground) -> None:
    """Kill a consumer, and its successor with the group of messages that it begins: the next takes them alone."""
    ground.prepare("consumer.begin_group:after:kill")
    crash("consumer-ledger")(ground)


def unknown_key(ground: Ground) -> None:
    """Show every replica a token under a key that nobody announced: it asks the issuer."""
    head = base64.urlsafe_b64encode(f'{{"alg":"RS256","typ":"at+jwt","kid":"{uuid4()}"}}'.encode()).decode().strip("=")
    issuer = ground.stack.addresses.issuer
    body = base64.urlsafe_b64encode(f'{{"iss":"{issuer}"}}'.encode()).decode().strip("=")
    _ask_all(ground, "GET", "/v1/me", f"{head}.{body}.c2lnbmF0dXJl")


def opaque_token(ground: Ground) -> None:
    """Come with a token that says nothing by itself."""
    form = {"grant_type": "client_credentials", "token_format": "opaque"}
    with httpx.Client(trust_env=False, timeout=ANSWER_S) as client:
        answer = client.post(f"{ground.stack.addresses.issuer}/token", data=form, auth=credentials("acme"))
    _ask_all(ground, "GET", "/v1/me", str(answer.json()["access_token"]))


def cart(ground: Ground) -> None:
    """Fill a cart, which is in Valkey."""
    body = {"currency": "EUR", "items": [{"name": "a", "quantity": 1, "unit_amount": 100}]}
    _ask_all(ground, "PUT", f"/v1/carts/{uuid4()}", ground.stack.token(), body)


def _ask_all(ground: Ground, method: str, path: str, token: str, body: object = None) -> None:
    with httpx.Client(trust_env=False, timeout=ANSWER_S, headers={"Authorization": f"Bearer {token}"}) as client:
        for api in ground.stack.addresses.apis:
            try:
                client.request(method, api + path, json=body)
            except httpx.TransportError:
                continue  # it was struck, or stands still; whoever is asked next may not be


def old_day(ground: Ground) -> None:
    """Let there be a day of the outbox that is long over and empty: the cleaner detaches and drops it."""
    day = LONG_AGO + timedelta(days=next(ground.numbers) % 1_000)
    name, first, end = (
        partitions.name_of("outbox", day),
        partitions.midnight(day),
        partitions.midnight(day + timedelta(days=1)),
    )
    with begin(ground.bind) as tx:
        tx.execute(text(partitions.CREATE.format(name=name, table="outbox")))
        tx.execute(text(partitions.ATTACH.format(table="outbox", name=name, first=first, end=end)))
    wait(lambda: not _is_there(ground, day), f"{name} is detached and dropped")


def _is_there(ground: Ground, day: date) -> bool:
    with ground.bind.connect() as tx:
        return day in partitions.attached(tx, "outbox") or day in partitions.loose(tx, "outbox")


#: Step, or a pattern of steps -> its errand; those that customers reach have none.
ERRANDS: dict[str, Errand] = {
    "auth.fetch_keys": unknown_key,
    "auth.introspect": opaque_token,
    "brake.release": operator.brake,
    "broker.create_topics": shadow.new_topics,
    "cleaner.note_drop": old_day,
    "consumer.begin_alone": crash_twice,
    "consumer.begin_group": crash("consumer-ledger"),
    "consumer.commit_apart": operator.dead_letter,
    "consumer.give_back": restart("consumer-notifications"),
    "consumer.take": restart("consumer-notifications"),
    "consumer.work_off": operator.dead_letter,
    "dead_letters.decide": operator.dead_letter,
    "forgetting.forget": operator.forget,
    "leases.acquire": restart("relay"),
    "leases.release": restart("relay"),
    "leases.remove": restart("relay"),
    "outbox.copy": operator.replay,
    "partitions.d*": old_day,
    "relay.abort": broker_errands.hang,
    "relay.check_shards": restart("relay"),
    "relay.confirm": restart("relay"),
    "relay.end_open": broker_errands.leave_open,
    "relay.fence": restart("relay"),
    "relay.fix": restart("relay"),
    "relay.release": restart("relay"),
    "repair.*": shadow.repair,
    "replay.copy": operator.replay,
    "stripe.*": stripe.pay,
    "valkey.call": cart,
}


def errand_for(step: str) -> Errand | None:
    """Return what brings the step about; None: customers do."""
    return next((errand for pattern, errand in ERRANDS.items() if fnmatch(step, pattern)), None)
