"""By which addresses do the processes reach each other? By their own, unless something is put in between.

Our processes and the clients are led by the detour; whoever starts, migrates or watches the stack is not.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

#: Is given a server's name and its `host:port`, and returns the `host:port` that leads there. Names: `postgres` (with a
#: standby `postgres-1`, `postgres-2`; behind a pooler that one, and `postgres-direct`), `kafka-1` and on (for its
#: clients), `valkey`, `issuer` (its key set; the `iss` stays), `provider`, `api-1` and on. Between three brokers:
#: `kafka-1-peers` (the others to 1), and `kafka-1-controller-from-2`.
Detour = Callable[[str, str], str]


def straight(_name: str, address: str) -> str:
    """Lead nowhere else."""
    return address


def url(detour: Detour, name: str, given: str) -> str:
    """Return the URL with the detour's address in it; several hosts have numbered names."""
    parts = urlsplit(given)
    account, at, hosts = parts.netloc.rpartition("@")
    several = hosts.split(",")
    names = [name] if len(several) == 1 else [f"{name}-{number}" for number in range(1, len(several) + 1)]
    led = ",".join(detour(one, host) for one, host in zip(names, several, strict=True))
    return parts._replace(netloc=account + at + led).geturl()
