"""Which of our connections are encrypted, and are the secrets in good files?"""

from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict

from paidonce.app import secret_files
from paidonce.app.settings import Settings
from paidonce.app.settings_servers import VALKEY_TLS
from paidonce.workers.doctor_finding import WrongError

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


def encryption(settings: Settings) -> str:
    """Name the connections that leave this machine in the clear: a network of one's own may be meant for it."""
    clear = [name for name, is_clear in _clear(settings).items() if is_clear]
    if not clear:
        return "every connection that leaves this machine is encrypted, and the server verified"
    return f'in the clear, or to a server that is not verified: {", ".join(clear)} (docs/operations.md, "Encrypted")'


def _clear(settings: Settings) -> dict[str, bool]:
    said = conninfo_to_dict(settings.dsn.get_secret_value())
    hosts = str(said.get("host") or "localhost").split(",")
    valkey = urlsplit(settings.valkey)
    brokers = [address.rpartition(":")[0] for address in settings.kafka.split(",")]
    return {
        "PostgreSQL": said.get("sslmode") != "verify-full" and _leaves(*hosts),
        "Kafka": not settings.kafka_has_tls and _leaves(*brokers),
        "Valkey": valkey.scheme not in VALKEY_TLS and _leaves(valkey.hostname or "localhost"),
    }


def _leaves(*hosts: str) -> bool:
    return not LOOPBACK.issuperset(hosts)


def files(_settings: Settings) -> str:
    """The files of secrets are settings, have something in them, and are nobody else's to write."""
    folder = secret_files.folder()
    if folder is None:
        return f"no secret comes from a file ({secret_files.VARIABLE} is not set)"
    known = {f"{secret_files.PREFIX}{name.upper()}" for name in Settings.model_fields}
    if wrong := secret_files.faults(folder, known):
        raise WrongError("; ".join(wrong))
    return f"{len(secret_files.files(folder))} from {folder}"
