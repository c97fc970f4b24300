"""Where do the secrets of docker-compose.yml come from? Drawn once, into a folder that is a volume.

    python -m paidonce.devstack.compose_secrets FOLDER

Writes `postgres_password`, `pgpass`, `PAIDONCE_PROVIDER_SECRET`, and a certificate authority (`ca.pem`,
whose key is thrown away) with one certificate for the host `issuer`. What is there already is kept.
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

#: A development stack is rarely older; a new volume draws a new one.
CERTIFICATE_VALID = timedelta(days=825)


def draw(folder: Path) -> None:
    """Fill `folder` unless it has been filled before."""
    if (folder / "ca.pem").exists():
        return
    password = secrets.token_urlsafe(32)
    _write(folder / "postgres_password", password.encode())
    _write(folder / "pgpass", f"*:*:*:paidonce:{password}\n".encode())
    _write(folder / "PAIDONCE_PROVIDER_SECRET", b"whsec_" + base64.b64encode(secrets.token_bytes(32)))
    _certificates(folder)


def _certificates(folder: Path) -> None:
    authority_key, issuer_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _sign("paidonce development CA", authority_key, authority_key, "paidonce development CA")
    issuer = _sign("issuer", issuer_key, authority_key, "paidonce development CA")
    _write(folder / "issuer.key", _private(issuer_key))
    _write(folder / "issuer.pem", issuer.public_bytes(serialization.Encoding.PEM))
    _write(folder / "ca.pem", authority.public_bytes(serialization.Encoding.PEM))


def _sign(
    subject: str, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey, signer_name: str
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(signer_name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + CERTIFICATE_VALID)
        .add_extension(x509.BasicConstraints(ca=key is signer, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("issuer")]), critical=False)
        .sign(signer, hashes.SHA256())
    )


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
