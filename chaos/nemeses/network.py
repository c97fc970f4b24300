"""What is done to the network? Each kind is faults of the proxy, seen to have struck, and healed at the end.

`target` is a link's name (devstack/detour.py); `args` are the plan's, and what they leave out is said below.

| kind | does | args |
|---|---|---|
| partition | nothing passes in either direction, new connections hang | |
| one-way | nothing passes in one direction | direction: to_server (default) or to_client |
| refused | connections are reset, new ones refused | |
| half-open | one side is gone, the other is not told | gone: server (default), client; scope: link, connection |
| stall | as partition, but only for connections that there are | |
| slow | bytes come late and few | delay_s, bytes_per_s |
| reset-storm | connections are reset as soon as they speak | times |
| lost-answer | the n-th event's answer is lost after the server did its work | event, nth, match, how, times |
| lost-commit, lost-accept | the same for a COMMIT, and for the statement that accepts payments | but event |
| lost-produce, lost-end-txn, lost-charge | the same in Kafka, and at the provider after it charged | but event |
| broker-partition | a broker and the others no longer hear of each other; clients reach all of them | brokers |

The target `kafka` is whichever broker's link transactions end on at that moment.
`how` an answer is lost: reset (default), swallow (silence), stall (late, at the healing).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from paidonce.chaos.arena import Arena, DidNotFireError, Nemesis
from paidonce.chaos.proxy.client import FIRES_WITHIN_S, NotFiredError, Proxies
from paidonce.chaos.proxy.faults import Fault, Firing, Trigger
from paidonce.chaos.proxy.protocols import ANY
from paidonce.chaos.schedule import Planned as ScheduledFault
from paidonce.devstack.errors import TooLateError
from paidonce.devstack.waiting import until

Args = Mapping[str, Any]
#: Of a target and its args, what is to be armed.
Planned = Callable[[str, Args], list[Fault]]

#: Seconds of delay, and bytes a second: a bad mobile network, and still faster than any time limit of ours.
DELAY_S, BYTES_PER_S = 0.1, 20_000
#: Connections that a storm resets.
STORM = 20
#: In ACCEPT, of app/payments/store.py, and in no other statement that commits by itself.
ACCEPTS = "INSERT INTO payments"
BROKERS = 3
#: Firings of one fault that are told in words: a storm has twenty like them.
TOLD_MOST = 2


def _everywhere(target: str, _args: Args, **fields: Any) -> list[Fault]:
    return [Fault(link=target, scope="link", **fields)]


def _one_way(target: str, args: Args) -> list[Fault]:
    return _everywhere(target, args, kind="stall", new="same", direction=args.get("direction", "to_server"))


def _half_open(target: str, args: Args) -> list[Fault]:
    return [Fault(link=target, kind="half_open", gone=args.get("gone", "server"), scope=args.get("scope", "link"))]


def _stall(target: str, _args: Args) -> list[Fault]:
    return [Fault(link=target, kind="stall")]


def _slow(target: str, args: Args) -> list[Fault]:
    rate = _everywhere(target, args, kind="rate", bytes_per_s=args.get("bytes_per_s", BYTES_PER_S))
    return [*rate, *_everywhere(target, args, kind="delay", delay_s=args.get("delay_s", DELAY_S))]


def _reset_storm(target: str, args: Args) -> list[Fault]:
    on = Trigger(event=ANY, at="request")
    return [Fault(link=target, kind="reset", on=on, times=args.get("times", STORM))]


def _lost_answer(target: str, args: Args, **more: Any) -> list[Fault]:
    said = {**more, **args}
    on = Trigger(event=said["event"], nth=said.get("nth", 1), match=said.get("match", ""))
    how = said.get("how", "reset")
    return [Fault(link=target, kind=how, on=on, times=said.get("times", 1))]


def _broker_partition(target: str, args: Args) -> list[Fault]:
    number = int(target.removeprefix("kafka-"))
    others = [other for other in range(1, args.get("brokers", BROKERS) + 1) if other != number]
    pairs = [pair for other in others for pair in ((number, other), (other, number))]
    links = [f"{target}-peers", *(f"kafka-{one}-controller-from-{other}" for one, other in pairs)]
    # What it asks of the others goes over links that it shares with them: it is known by its client's id.
    own = Trigger(event=ANY, at="request", match=f"broker-{number}-")
    return [
        *(Fault(link=link, kind="stall", scope="link") for link in links),
        *(Fault(link=f"kafka-{other}-peers", kind="stall", on=own, times=0) for other in others),
    ]


KINDS: Mapping[str, Planned] = {
    "partition": partial(_everywhere, kind="stall"),
    "one_way": _one_way,
    "refused": partial(_everywhere, kind="reset"),
    "half_open": _half_open,
    "stall": _stall,
    "slow": _slow,
    "reset_storm": _reset_storm,
    "lost_answer": _lost_answer,
    "lost_commit": partial(_lost_answer, event="commit"),
    "lost_accept": partial(_lost_answer, event="autocommit", match=ACCEPTS),
    "lost_produce": partial(_lost_answer, event="Produce"),
    "lost_end_txn": partial(_lost_answer, event="EndTxn"),
    "lost_charge": partial(_lost_answer, event="POST", match="/v1/charges"),
    "broker_partition": _broker_partition,
}


@contextmanager
def network(kind: str, proxies: Proxies, target: str, args: Args, *, within_s: float = FIRES_WITHIN_S) -> Iterator[str]:
    """Strike the link, yield in words what was seen to be struck, and heal it.

    Raises:
        NotFiredError: no traffic met the fault within that time; it is healed.
    """
    armed: list[tuple[Fault, int]] = []
    try:
        for fault in KINDS[kind](target, args):
            armed.append((fault, proxies.arm(fault)))  # noqa: PERF401  one that is refused must not leave the first
        yield _summary(_struck(proxies, armed, within_s))
    finally:
        for _, number in armed:
            proxies.heal(number)


def nemesis(kind: str) -> Nemesis:
    """Return the kind as a plan's faults are carried out."""

    @contextmanager
    def strike(arena: Arena, planned: ScheduledFault) -> Iterator[str]:
        if arena.proxies is None:
            raise DidNotFireError("the stack is not led through the proxy")
        with ExitStack() as healing:
            try:
                target = _busiest(arena.proxies) if planned.target == "kafka" else planned.target
                saw = healing.enter_context(network(kind, arena.proxies, target, planned.args))
            except NotFiredError as error:
                raise DidNotFireError(str(error)) from error
            yield saw

    return strike


def _busiest(proxies: Proxies) -> str:
    """Return the broker's link on which transactions end now: after failures anybody may coordinate them."""

    def ended() -> dict[str, int]:
        return {name: link["events"].get("EndTxn answer", 0) for name, link in proxies.links().items()}

    before, grown = ended(), dict[str, int]()

    def more() -> bool:
        grown.update({name: count - before.get(name, 0) for name, count in ended().items()})
        return any(grown.values())

    try:
        until(more, within_s=FIRES_WITHIN_S, what="the end of a transaction")
    except TooLateError as error:
        raise NotFiredError(str(error)) from error
    return max(grown, key=lambda name: grown[name])


def told(firing: Firing) -> str:
    """Say in words what a firing was."""
    where = f"{len(firing.connections)} connections of {firing.link}"
    after = f" at {firing.event} {firing.subject[:60]!r}" if firing.event else ""
    return f"{firing.kind} on {where}{after}, after {firing.to_server_bytes} + {firing.to_client_bytes} bytes"


def _summary(firings: Sequence[Firing]) -> str:
    shown, more = firings[:TOLD_MOST], len(firings) - TOLD_MOST
    return "; ".join(map(told, shown)) + (f"; and {more} more" if more > 0 else "")


def _struck(proxies: Proxies, armed: Sequence[tuple[Fault, int]], within_s: float) -> list[Firing]:
    """Wait until every event came that was to come, and any traffic met what began at once; return what did."""
    for fault, number in armed:
        if fault.on and fault.times:
            proxies.wait_fired(number, firings=fault.times, within_s=within_s)

    def met() -> list[Firing]:
        found = [firing for _, number in armed for firing in proxies.fired(number)]
        return [firing for firing in found if firing.connections or firing.met]

    try:
        until(lambda: bool(met()), within_s=within_s, what="traffic")
    except TooLateError as error:
        raise NotFiredError(f"no traffic met it in {within_s:g} s: {proxies.links()}") from error
    return met()
