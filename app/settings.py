"""What can be set, by whom runs it: environment variables with the prefix PAIDONCE_.

Every field says its unit (units last in the name) and why the default is what it is.
"""

from datetime import timedelta
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from paidonce.app import secret_files
from paidonce.app.issuers import TrustedIssuer
from paidonce.app.settings_console import ConsoleSettings
from paidonce.app.settings_kafka import KafkaSettings
from paidonce.app.settings_process import ProcessSettings
from paidonce.app.settings_provider import ProviderSettings
from paidonce.app.settings_servers import ServersSettings
from paidonce.app.settings_traces import TracesSettings
from paidonce.app.settings_yours import YoursSettings

#: Requests per time, in the notation of the library that counts them; or nothing.
RATE = r"^([1-9]\d{0,8}/([1-9]\d{0,4})?(second|minute|hour|day))?$"
#: Seconds of the longest lease that anybody may set. What lasts longer was given before the database's clock was set
#: back, so it counts as run out: ten minutes is the longest that a dead owner's lease can stand still.
LEASE_LONGEST_S = 600.0


class Settings(
    ServersSettings, ProcessSettings, KafkaSettings, ProviderSettings, YoursSettings, TracesSettings, ConsoleSettings
):
    """Everything that can be set; `paidonce doctor` checks it."""

    model_config = SettingsConfigDict(env_prefix="PAIDONCE_", frozen=True, extra="ignore", hide_input_in_errors=True)

    # --- the API
    api_host: str = Field("127.0.0.1", description="Address that the API listens on.")
    api_port: int = Field(8080, ge=0, le=65535, description="Port that the API listens on.")
    api_head_bytes_max: int = Field(16_384, description="Bytes of a request's head as sent; above it 431.")
    api_gateway_head_bytes: int = Field(
        0,
        ge=0,
        description="Bytes more of a head that the API takes from the gateway in front of it, which adds who calls "
        "(docs/gateways.md); 0 without one.",
    )
    api_tls_certificate: Path | None = Field(None, description="PEM file of the API's certificate; without it no TLS.")
    api_tls_key: Path | None = Field(None, description="PEM file of its key.")
    api_caller: Literal["token", "gateway"] = Field(
        "token",
        description="What says who calls: the token, or over mutual TLS a gateway's headers (docs/gateways.md).",
    )
    api_gateway_authority: Path | None = Field(None, description="PEM file of who signs the gateway's certificate.")
    api_gateway_name: str = Field("", description="DNS name in the gateway's certificate.")
    api_body_bytes_max: int = Field(65_536, description="Bytes of a request body; a payment needs 2 KB. Above it 413.")
    api_connections_max: int = Field(
        16, ge=4, description="Database connections of one API process, per pool; two of them share out payments."
    )
    api_pool_wait_s: float = Field(2.0, description="Seconds that a request waits for a connection; then 503.")

    # --- idempotency: see docs/design.md, "Idempotent HTTP"
    idempotency_profile: Literal["paidonce", "ietf"] = Field(
        "paidonce",
        description="Answer to a key reused for another request: 409, or 422 as the IETF draft has it.",
    )
    idempotency_first_wait_ms: int = Field(
        100, description="Milliseconds that any duplicate waits on the row of the first request."
    )
    idempotency_wait_ms: int = Field(
        2_000,
        description="Milliseconds that one of the few waiters waits on it; then 409 request-in-progress.",
    )
    idempotency_waiters_max: int = Field(
        4,
        description="Requests of one process that may wait that long at once: duplicates never drain the pool.",
    )
    idempotency_money_retention_h: int = Field(
        72,
        description="Hours that the response to a payment request is kept: a client's bug survives a weekend.",
    )
    client_retry_horizon_h: int = Field(
        48,
        description="Hours for which a client may repeat a payment request: its response is kept longer (S15).",
    )
    idempotency_other_retention_h: int = Field(6, description="Hours that any other stored response is kept.")
    idempotency_tombstone_d: int = Field(
        30,
        description="Days more that an expired key is remembered, so that it is refused and never paid again.",
    )

    # --- what replicas share: see docs/design.md, "Shared state"
    rate_limit_subject: str = Field(
        "",
        pattern=RATE,
        description="Requests of one token subject, as `600/minute` or `100/10second`; empty: not counted.",
    )
    rate_limit_tenant: str = Field(
        "", pattern=RATE, description="Requests of all subjects of one tenant, likewise; empty: not counted."
    )
    rate_limit_when_away: Literal["open", "closed"] = Field(
        "open", description="While Valkey is away, let requests through uncounted, or refuse them with 503."
    )
    cart_ttl_h: int = Field(72, ge=1, description="Hours that a cart is kept after it was written last.")

    # --- tokens: see docs/design.md, "Who may call"
    issuer: str = Field("http://127.0.0.1:8081", description="The `iss` of every accepted token.")
    jwks_url: str | None = Field(None, description="Where its key set is; by default where its OpenID discovery says.")
    audience: str = Field("paidonce", description="The `aud` that a token must name.")
    issuers: list[TrustedIssuer] = Field(
        [],
        description="Several issuers, as JSON: [{issuer, jwks_url, audiences, tenants, tenant_claim, roles_claim, "
        "refund_limit_claim, opaque: {client_id, client_secret, url, prefix}}]; then the three above are not used.",
    )
    refund_limit_minor: int = Field(
        100_000,
        ge=0,
        description="Minor units, of the payment's currency, that one payment's refunds may add up to where the token "
        "has no claim refund_limit; above the limit 403.",
    )
    token_bytes_max: int = Field(4_096, description="Bytes of a token; above it 401.")
    token_skew_s: int = Field(120, description="Seconds by which the issuer's clock may differ from ours.")
    jwks_cache_s: int = Field(
        3_600,
        description="Seconds until a key set is fetched again, where the issuer's Cache-Control does not say: "
        "for so long a removed key works.",
    )
    jwks_stale_h: int = Field(24, description="Hours from its fetch that a key set is used while the issuer is away.")
    jwks_cooldown_s: float = Field(2.0, description="Seconds between two fetches for unknown key ids.")
    jwks_folder: Path | None = Field(
        None, description="Folder where key sets are kept, so that a start needs no issuer; by default they are not."
    )
    introspection_cache_s: float = Field(
        10.0,
        ge=0,
        le=60,
        description="Seconds that an issuer's word on an opaque token is used: for so long a revoked one works.",
    )

    # --- outbox and relay: see docs/design.md, "Outbox" and "Relay"
    outbox_shards: int = Field(
        2,
        ge=1,
        le=64,
        description="Shards of the outbox, fixed at the first migration; each costs Kafka transactions.",
    )
    outbox_retention_d: int = Field(7, description="Days that an event stays in the outbox, replayable.")
    topic: str = Field("payments", description="Topic of the payment events.")
    topic_partitions: int = Field(6, description="Partitions of a topic that we create.")
    topic_replication: int = Field(1, description="Replication factor of a topic that we create; 3 on a cluster.")
    topic_retention_d: int = Field(7, description="Days that a topic which we create keeps its records.")
    topic_segment_d: int = Field(1, description="Days of one segment: a record may outlive its retention by that much.")
    message_bytes_max: int = Field(
        1_000_000,
        description="Bytes of an event with its headers: below the topic's max.message.bytes (1,048,588).",
    )
    relay_lease_s: float = Field(
        10.0,
        le=LEASE_LONGEST_S,
        description="Seconds until another relay takes over a dead one's shard; Kafka's time limits follow it.",
    )
    relay_name: str = Field(
        "paidonce-relay",
        description="The relay's consumer group, topic and prefix of transactional ids: one name a database.",
    )
    kafka_client: Literal["kafka-python", "librdkafka"] = Field(
        "kafka-python",
        description="The relay's producer; librdkafka (extra `librdkafka`) carries several times as much.",
    )
    relay_window_events: int = Field(2_000, description="Events of one window: 50 ms of Kafka transaction at 40k/s.")
    relay_window_bytes: int = Field(
        8_388_608,
        ge=1,
        description="Bytes of one window, at most: eight of the largest events, 2,000 of 4 KB. A relay's memory "
        "is a few times that a shard.",
    )
    cdc_slot: str = Field(
        "",
        description="Replication slot of Debezium, where that publishes (docs/cdc.md); empty: the relay does.",
    )
    relay_poll_s: float = Field(0.2, description="Seconds between polls: the net for producers that do not hint.")

    # --- consumers: see docs/design.md, "Inbox"
    consumer_batch: int = Field(
        2_000,
        ge=1,
        description="Messages of one transaction, at most: 2,000 go twice as fast as 500. Fewer where fewer wait, or "
        "where a transaction would take longer than a quarter of a second.",
    )
    consumer_session_s: float = Field(10.0, description="Seconds until Kafka gives a dead consumer's partitions away.")
    consumer_alone_starts: int = Field(
        3, description="Starts alone during which a message may kill its process, before it is poison."
    )
    consumer_lock_timeout_ms: int = Field(5_000, description="Milliseconds that a worker waits for a row lock.")
    brake_window: int = Field(50, description="Messages over which the brake looks back.")
    brake_share: float = Field(0.5, description="Share of poison among them at which the consumer stops.")
    redrive_horizon_d: int = Field(14, description="Days after which a dead letter can no longer be redriven.")
    inbox_retention_d: int = Field(
        35, description="Days that the inbox remembers a message: longer than it can come back (S15)."
    )
    clock_skew_s: int = Field(300, description="Seconds by which clocks may differ, in the retention arithmetic.")

    # --- effects: see docs/design.md, "Effects"
    effect_lease_s: float = Field(30.0, description="Seconds that a worker owns an effect: longer than its call.")
    effect_call_s: float = Field(10.0, description="Seconds that one call to the provider may take.")
    effect_parallel: int = Field(16, description="Calls of one kind of effect at once, in one worker.")
    effect_poll_s: float = Field(0.2, description="Seconds between looks for due effects.")
    effect_retry_first_s: float = Field(0.5, description="Seconds before the first retry of an effect, jittered.")
    effect_retry_most_s: float = Field(300.0, description="Seconds between retries, at most.")
    breaker_failures: int = Field(10, description="Failures in a row that open the circuit breaker.")
    breaker_open_s: float = Field(5.0, description="Seconds that an open breaker lets no call through.")

    # --- merchant webhooks: see docs/design.md, "Webhooks"
    webhook_call_s: float = Field(10.0, description="Seconds that one delivery may take.")
    webhook_retry_horizon_h: int = Field(72, description="Hours of retries before a delivery is a dead letter.")
    webhook_private_addresses: bool = Field(
        False,
        description="Whether a webhook may go to a private or loopback address: true in demo and tests only.",
    )

    # --- the cleaner: see docs/design.md, "Retention"
    cleaner_interval_s: float = Field(60.0, description="Seconds between two rounds of the cleaner.")
    cleaner_lease_s: float = Field(30.0, le=LEASE_LONGEST_S, description="Seconds until another cleaner takes over.")
    partitions_ahead_d: int = Field(
        7, description="Days ahead for which partitions exist: a cleaner may be away a week."
    )

    @field_validator("issuers")
    @classmethod
    def _are_different(cls, issuers: list[TrustedIssuer]) -> list[TrustedIssuer]:
        if len({one.issuer for one in issuers}) < len(issuers):
            raise ValueError("names an issuer twice")
        prefixes = sorted(one.opaque.prefix for one in issuers if one.opaque)
        if any(later.startswith(first) for first, later in pairwise(prefixes)):
            raise ValueError("has opaque tokens that could be two issuers': give each another `prefix`")
        return issuers

    @model_validator(mode="after")
    def _headers_are_proven(self) -> Self:
        if (self.api_tls_certificate is None) != (self.api_tls_key is None):
            raise ValueError("PAIDONCE_API_TLS_CERTIFICATE and PAIDONCE_API_TLS_KEY belong together")
        proof = (self.api_tls_certificate, self.api_gateway_authority, self.api_gateway_name)
        if self.api_caller == "gateway" and not all(proof):
            names = ("API_TLS_CERTIFICATE", "API_TLS_KEY", "API_GATEWAY_AUTHORITY", "API_GATEWAY_NAME")
            raise ValueError(f"needs mutual TLS for API_CALLER=gateway: set {', '.join(names)} (prefix PAIDONCE_)")
        return self

    def trusted_issuers(self) -> list[TrustedIssuer]:
        """Return whose tokens are accepted."""
        return self.issuers or [
            TrustedIssuer(issuer=self.issuer, jwks_url=self.jwks_url, audiences=(self.audience,)),
        ]

    def key_retention(self, *, money: bool) -> timedelta:
        """Return how long a stored response is kept."""
        return timedelta(hours=self.idempotency_money_retention_h if money else self.idempotency_other_retention_h)


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return this process's settings, read once: from the environment, else from files (app/secret_files.py).

    Raises:
        pydantic.ValidationError: names what is wrong, without its value.
        ConfigurationError: the files of secrets cannot be read.
    """
    return Settings(_secrets_dir=secret_files.folder())
