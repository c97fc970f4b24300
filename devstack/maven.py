"""How is a file fetched by its Maven coordinates on a machine that has only Python? By `jgo`, and checked by hash."""

import hashlib
from pathlib import Path
from typing import Any

import truststore


def context(scratch: Path) -> Any:
    """Return jgo's MavenContext: the machine's own repositories, and `scratch` to download into."""
    # jgo trusts certifi's roots only, which fails behind a proxy that inspects TLS; the machine's own are right.
    truststore.inject_into_ssl()
    from jgo.config import GlobalSettings  # noqa: PLC0415  after the trust store, and only for a first start
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415
    from jgo.maven import MavenContext  # noqa: PLC0415

    repositories = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    return MavenContext(repo_cache=scratch / "repository", remote_repos=repositories)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def one_line(error: Exception) -> str:
    """Return an error of jgo's, which may be a page, in a line of a message."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
