"""Why does no broker take us? Asked when a connection failed, since Kafka's clients only say that time was up.

A broker whose certificate we refuse, or that hears bytes or a name that it does not know, closes the
connection or never answers: to a client that is one more broker which is away.
"""

import socket
import ssl

from kafka.errors import KafkaError
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from paidonce.app.settings import Settings
from paidonce.workers.broker import MEND_USER, NOT_TAKEN
from paidonce.workers.broker_security import addresses, context, of_kafka_python

#: Seconds for one look: the broker is beside us, or behind one network.
LOOK_S = 1.0
LISTENER = "PAIDONCE_KAFKA_SECURITY_PROTOCOL as its listener has it"


def why(settings: Settings) -> str:
    """Return what stands between us and the first broker that is there, and what to do; empty: nothing that we see."""
    for address in addresses(settings):
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), LOOK_S) as connection:
                found = _of_tls(settings, connection, host) if settings.kafka_has_tls else _of_plain(connection)
        except TimeoutError:
            return ""  # it stands still
        except (OSError, ValueError):
            continue  # it is away, as the client says
        found = found or _of_first_question(settings, address)
        return f"{address} {found}" if found else ""
    return ""


def _of_tls(settings: Settings, connection: socket.socket, host: str) -> str:
    try:
        with context(settings).wrap_socket(connection, server_hostname=host.strip("[]")) as encrypted:
            return _of_our_certificate(encrypted)
    except ssl.SSLCertVerificationError as error:
        return (
            f"shows a certificate that we refuse ({error.verify_message.rstrip('.')}): name who signed it in "
            "PAIDONCE_KAFKA_CA, and the brokers in PAIDONCE_KAFKA as their certificates do"
        )
    except TimeoutError:
        raise
    except OSError:
        return f"does not speak TLS there: name the port that does in PAIDONCE_KAFKA, or set {LISTENER}"


def _of_our_certificate(encrypted: ssl.SSLSocket) -> str:
    """Wait for the alert that tells that our own is refused, or missing: in TLS 1.3 it comes after everything else."""
    encrypted.settimeout(LOOK_S / 4)
    try:
        encrypted.recv(1)
    except ssl.SSLError as error:
        return (
            f"refuses our certificate ({error.reason}): set PAIDONCE_KAFKA_CERTIFICATE and PAIDONCE_KAFKA_KEY to one "
            "that it trusts"
        )
    except OSError:
        pass  # it waits for our first word, as it should
    return ""


def _of_plain(connection: socket.socket) -> str:
    """Tell whether it speaks TLS, whoever it is: no word of ours goes over this connection."""
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    try:
        with anybody.wrap_socket(connection):
            return f"speaks TLS, and we do not: set {LISTENER}, SSL or SASL_SSL"
    except TimeoutError:
        raise
    except OSError:
        return ""


def _of_first_question(settings: Settings, address: str) -> str:
    """Ask something under our name: whom the broker does not take, it hangs up on."""
    try:
        _ask(settings, address)
    except NOT_TAKEN as error:
        return f"refuses us ({error!r}): {MEND_USER}"
    except KafkaError as error:
        if settings.kafka_has_user:
            return f"hangs up on our user ({error!r}): {MEND_USER}"
        return f"answers no question ({error!r}): if it wants a user, set {LISTENER}, SASL_SSL"
    return ""


def _ask(settings: Settings, address: str) -> None:
    limit = {"request_timeout_ms": int(LOOK_S * 1000), "bootstrap_servers": [address]}
    net = NetworkSelector()
    manager = KafkaConnectionManager(net, **of_kafka_python(settings) | limit)
    (broker,) = manager.cluster.bootstrap_brokers()

    async def ask() -> None:
        await manager.get_connection(broker.node_id, timeout_ms=int(LOOK_S * 1000))
        await manager.cluster.refresh_metadata(broker.node_id)

    try:
        net.run(ask)
    finally:
        manager.close()
        net.close()
