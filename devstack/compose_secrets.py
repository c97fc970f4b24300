"""Where do the secrets of docker-compose.yml come from? Drawn once, into a folder that is a volume.

    python -m paidonce.devstack.compose_secrets FOLDER

Writes `postgres_password`, `pgpass`, `PAIDONCE_PROVIDER_SECRET`, those of Keycloak, and a certificate authority
(`ca.pem`, whose key is thrown away) with a certificate for each of HOSTS. What is there already is kept; where a
certificate is missing all are drawn anew, because nobody can sign one more.
"""

import base64
import os
import secrets
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

AUTHORITY = "paidonce development CA"
#: Names in the certificates: of the services that speak TLS, and of this machine for who calls a gateway from it.
HOSTS = {
    "issuer": ("issuer",),
    "keycloak": ("keycloak", "localhost"),
    "gateway": ("gateway-nginx", "gateway-envoy", "localhost"),
}
#: A development stack is rarely older; a new volume draws a new one.
CERTIFICATE_VALID = timedelta(days=825)


def draw(folder: Path) -> None:
    """Put into `folder` what is missing there."""
    if not (folder / "pgpass").exists():
        password = secrets.token_urlsafe(32)
        _write(folder / "postgres_password", password.encode())
        _write(folder / "pgpass", f"*:*:*:paidonce:{password}\n".encode())
    if not (folder / "PAIDONCE_PROVIDER_SECRET").exists():
        _write(folder / "PAIDONCE_PROVIDER_SECRET", b"whsec_" + base64.b64encode(secrets.token_bytes(32)))
    for name in ("keycloak_admin", "keycloak_clients", "keycloak_people"):
        if not (folder / name).exists():
            _write(folder / name, secrets.token_urlsafe(32).encode())
    if not all((folder / f"{name}.pem").exists() for name in (*HOSTS, "ca")):
        _certificates(folder)


def _certificates(folder: Path) -> None:
    (folder / "ca.pem").unlink(missing_ok=True)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _sign(AUTHORITY, (), authority_key, authority_key)
    for name, hosts in HOSTS.items():
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign(hosts[0], hosts, key, authority_key)
        _write(folder / f"{name}.key", _private(key))
        _write(folder / f"{name}.pem", certificate.public_bytes(serialization.Encoding.PEM))
    # Last: without it the next start draws all of them again.
    _write(folder / "ca.pem", authority.public_bytes(serialization.Encoding.PEM))


def _sign(
    subject: str, hosts: tuple[str, ...], key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    now = datetime.now(UTC)
    unsigned = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(AUTHORITY))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + CERTIFICATE_VALID)
        .add_extension(x509.BasicConstraints(ca=key is signer, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        unsigned = unsigned.add_extension(names, critical=False)
    return unsigned.sign(signer, hashes.SHA256())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
