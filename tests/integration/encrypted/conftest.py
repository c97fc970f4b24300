"""Servers that speak TLS only: Kafka itself; PostgreSQL and Valkey behind a front, since their wheels cannot."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from paidonce.devstack.kafka import start_kafka
from paidonce.devstack.ports import LOOPBACK, free_port
from paidonce.devstack.postgres import start_postgres
from paidonce.devstack.runs import Run
from paidonce.devstack.tls_front import Front, front
from paidonce.devstack.valkey import start_valkey

USER, PASSWORD, OTHER = "paidonce", "kafka-secret-1", "kafka-secret-2"


@dataclass(frozen=True)
class Encrypted:
    """The servers, the authority that signed for them, and another that signed for nobody."""

    folder: Path
    sasl: str
    mutual: str
    dsn: str
    valkey: str
    ca: Path
    foreign: Path
    #: ours, for brokers that want to see one
    certificate: Path
    key: Path
    fronts: tuple[Front, Front]
    password: str = PASSWORD
    #: not ours
    other_password: str = OTHER

    def dsn_with(self, ca: Path, *, host: str = LOOPBACK) -> str:
        """The DSN that verifies the server, known by that name, against an authority."""
        return f"{self.dsn.replace(f'@{LOOPBACK}', f'@{host}')}?sslmode=verify-full&sslrootcert={ca}"

    @property
    def settings(self) -> dict[str, str]:
        """Settings by name that reach all of them as one should."""
        return {
            "dsn": self.dsn_with(self.ca),
            "kafka": self.sasl,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_ca": str(self.ca),
            "kafka_user": USER,
            "kafka_password": PASSWORD,
            "valkey": self.valkey,
            "valkey_ca": str(self.ca),
        }


@pytest.fixture(scope="package")
def encrypted() -> Iterator[Encrypted]:
    """All three, each known as 127.0.0.1, and nothing else."""
    with Run() as run:
        folder = run.folder / "tls"
        folder.mkdir(mode=0o700)
        authority, foreign = trustme.CA(), trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        foreign.cert_pem.write_to_path(folder / "foreign.pem")
        server, client = authority.issue_cert(LOOPBACK), authority.issue_cert("paidonce.example")
        client.cert_chain_pems[0].write_to_path(folder / "client.pem")
        client.private_key_pem.write_to_path(folder / "client.key")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.configure_cert(context)
        postgres, valkey = start_postgres(run, durable=False), start_valkey(run)
        sasl, mutual = free_port(), free_port()
        start_kafka(run, properties=_properties(folder, server, sasl, mutual), users={USER: PASSWORD})
        dsn, cache = urlsplit(postgres.dsn), urlsplit(valkey.url)
        assert dsn.port
        assert cache.port
        with (
            front((LOOPBACK, dsn.port), context, postgres=True) as to_postgres,
            front((LOOPBACK, cache.port), context, postgres=False) as to_valkey,
        ):
            yield Encrypted(
                folder=folder,
                sasl=f"{LOOPBACK}:{sasl}",
                mutual=f"{LOOPBACK}:{mutual}",
                dsn=postgres.dsn.replace(f":{dsn.port}/", f":{to_postgres.port}/"),
                valkey=valkey.url.replace("redis:", "rediss:").replace(f":{cache.port}/", f":{to_valkey.port}/"),
                ca=folder / "ca.pem",
                foreign=folder / "foreign.pem",
                certificate=folder / "client.pem",
                key=folder / "client.key",
                fronts=(to_postgres, to_valkey),
            )


def _properties(folder: Path, server: trustme.LeafCert, sasl: int, mutual: int) -> dict[str, str]:
    """Listeners for clients with a password, for clients with a certificate, and for the broker itself."""
    # Kafka reads PKCS#8 only.
    key = load_pem_private_key(server.private_key_pem.bytes(), None)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.pem").write_bytes(pem + b"".join(one.bytes() for one in server.cert_chain_pems))
    controller, broker = free_port(), free_port()
    ports = {"SASL_SSL": sasl, "SSL": mutual, "BROKER": broker, "CONTROLLER": controller}
    module = "org.apache.kafka.common.security"
    return {
        "listeners": ",".join(f"{name}://{LOOPBACK}:{port}" for name, port in ports.items()),
        "advertised.listeners": ",".join(
            f"{name}://{LOOPBACK}:{port}" for name, port in ports.items() if name != "CONTROLLER"
        ),
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,SSL:SSL,BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "controller.quorum.bootstrap.servers": f"{LOOPBACK}:{controller}",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "server.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.pem"),
        "listener.name.ssl.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": (
            f'{module}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        ),
    }
