"""Where does Debezium Server come from? By Maven coordinates into the user's cache, once (785 MB), checked by hash.

Another version: change it here, and put here the sums that `debezium_files` names.
"""

from pathlib import Path

from paidonce.devstack.distribution import Distribution, folder_of

VERSION = "3.6.0.Final"
RUNNER = f"debezium-server-dist-{VERSION}-runner.jar"
DEBEZIUM = Distribution(
    name="Debezium",
    group="io.debezium",
    artifact="debezium-server-dist",
    version=VERSION,
    zip_sha256="cdbd7fa76e2f8ffc9eb259a7f6eebecbdeac421f4a49fd13eee099cfe611f585",
    kept_sha256="40514c1962774e3ad404ff4a51f744b55dc7d906372812957e7c6a6a3855b081",
    top="debezium-server/",
    # The server and its libraries; the other folders are connectors for other databases, and examples.
    kept=("lib/", RUNNER),
    size_mb=785,
    needed_by="nothing but `make test-cdc` and the peer of `paidonce bench relay` needs it",
)


def debezium_files() -> list[Path]:
    """Return the class path, fetched into the user's cache if it is not there.

    Raises:
        JarsUnobtainableError: it could not be fetched, or is not the pinned one; says what to do.
    """
    folder = folder_of(DEBEZIUM)
    return [folder / RUNNER, *sorted((folder / "lib").iterdir())]
