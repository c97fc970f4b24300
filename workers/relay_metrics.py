"""What can be seen of a relay on /metrics? What it publishes, what waits, and what it owns."""

from prometheus_client import Counter, Gauge, Histogram

#: Count no further: whoever has more than this waiting has seen enough, and counting it all would cost.
WAITING_MOST = 10_000

EVENTS = Counter("paidonce_relay_events_total", "Events published.", ["shard"])
WINDOWS = Counter(
    "paidonce_relay_windows_total",
    "Windows by what came of them: published; again (published, perhaps not for the first time: recovery could not "
    "tell); aborted (the same window comes next); refused (it can never be published: the shard stands still).",
    ["shard", "outcome"],
)
WINDOW_EVENTS = Histogram(
    "paidonce_relay_window_events",
    "Events of a published window.",
    buckets=(1, 5, 10, 50, 100, 500, 1_000, 2_000, 5_000, 10_000),
)
RECOVERIES = Counter(
    "paidonce_relay_recoveries_total",
    "Times that a shard asked Kafka what is published; `twice`: whether events may come twice after it.",
    ["shard", "twice"],
)
STOPS = Counter("paidonce_relay_shard_stops_total", "Times that a shard was found to need an operator.", ["shard"])
LEASES = Counter("paidonce_relay_lease_changes_total", "Shards acquired, lost to another, and released.", ["change"])
OWNED = Gauge("paidonce_relay_shards_owned", "Shards that this relay owns.")
SHARDS = Gauge("paidonce_relay_shards", "Shards of the outbox: as many are owned, by all relays together.")
BACKLOG = Gauge(
    "paidonce_relay_backlog_events",
    f"Committed events that are not published, of the shards that this relay owns; counted up to {WAITING_MOST} each.",
    ["shard"],
)
OLDEST = Gauge(
    "paidonce_relay_oldest_event_age_seconds",
    "Seconds since the transaction of the oldest event that is not published began; 0: there is none.",
    ["shard"],
)


def know(shards: int) -> None:
    """Begin every series of what must not be missed at zero: a rate counts from there."""
    SHARDS.set(shards)
    for shard in range(shards):
        STOPS.labels(shard)
        for twice in ("yes", "no"):
            RECOVERIES.labels(shard, twice)


def forget(shard: int) -> None:
    """Say nothing more of a shard's backlog: its next owner does."""
    for gauge in (BACKLOG, OLDEST):
        gauge.remove(shard)
