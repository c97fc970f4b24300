"""How quickly does one process take over from a dead one in demo and tests? Within seconds, not half a minute."""

import base64
import secrets
from typing import Any

#: Settings by field name; units are in the names.
PACE: dict[str, Any] = {
    "relay_lease_s": 2.0,
    # Below what the supervisor waits for before it kills.
    "stop_s": 8.0,
    "consumer_session_s": 2.0,
    "consumer_lock_timeout_ms": 2_000,
    "effect_call_s": 1.0,
    "effect_lease_s": 3.0,
    "effect_retry_first_s": 0.1,
    "effect_retry_most_s": 1.0,
    "breaker_open_s": 0.5,
    "webhook_call_s": 1.0,
    "cleaner_interval_s": 1.0,
    "cleaner_lease_s": 2.0,
    # Merchants' servers of demo and tests are on this machine.
    "webhook_private_addresses": True,
}


def new_secret() -> str:
    """Return a fresh webhook secret in the form of Standard Webhooks: `whsec_` and base64 of 32 bytes."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def environment(settings: dict[str, Any]) -> dict[str, str]:
    """Return settings as environment variables."""
    return {f"PAIDONCE_{name.upper()}": str(value) for name, value in settings.items()}
