"""A client's half of "one key, at most one charge": see README.md beside this file. Needs httpx alone; copy it."""

from .client import Client
from .intents import ChangedIntentError, Intent, Intents
from .outcome import Ok, Outcome, Refused, Unknown
from .patience import Patience
from .tokens import TokenRefusedError, Tokens

__all__ = [
    "ChangedIntentError",
    "Client",
    "Intent",
    "Intents",
    "Ok",
    "Outcome",
    "Patience",
    "Refused",
    "TokenRefusedError",
    "Tokens",
    "Unknown",
]
