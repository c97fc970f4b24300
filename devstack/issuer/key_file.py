"""Which signing keys are there, and from when till when? A file that is replaced whole; a rotation adds a key to it.

A new key is announced before it signs, so that every verifier has it by then; the old one stays in
the key set until its last token is over. `at_once` leaves the first out (verifiers must ask for an
unknown key id), `drop` the second: for a key that leaked.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

from joserfc.jwk import RSAKey
from pydantic import AwareDatetime, BaseModel, TypeAdapter

from paidonce.app.errors import ConfigurationError
from paidonce.devstack.issuer.configuration import TTL_MAX_S

FILE = "signing-keys.json"
#: The one key of earlier versions; it becomes the first.
PEM_FILE = "signing-key.pem"
KEY_BITS = 2_048
#: Cache-Control of the key set, in seconds: who keeps it longer is on their own.
JWKS_AGE_S = 300
#: A key is in the set for so long before it signs.
ANNOUNCED = timedelta(seconds=JWKS_AGE_S)
#: … and after it signed last: the longest token, and the clocks' skew of the strictest of our verifiers.
RETIRING = timedelta(seconds=TTL_MAX_S + 300)
#: From when the first key signs: it has no predecessor.
ALWAYS = datetime.fromisoformat("2000-01-01T00:00:00Z")


class KeptKey(BaseModel):
    """A key of the file."""

    pem: str
    signs_from: AwareDatetime
    #: None: no successor is known yet
    published_until: AwareDatetime | None = None

    @property
    def kid(self) -> str:
        """Its id in the key set."""
        return RSAKey.import_key(self.pem).thumbprint()

    def is_published(self, now: datetime) -> bool:
        """Tell whether the key set shows it."""
        return self.published_until is None or now < self.published_until


_KEYS = TypeAdapter(list[KeptKey])


def make(folder: Path) -> None:
    """Make folder and first key when they are missing, for this user's eyes only."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(folder):
        if (folder / FILE).exists():
            return
        old = folder / PEM_FILE
        pem = old.read_text() if old.exists() else _new_pem()
        _write(folder, [KeptKey(pem=pem, signs_from=ALWAYS)])
        old.unlink(missing_ok=True)


def version(folder: Path) -> int:
    """Return a number that is another after every rotation; cheap enough for each token."""
    found = (folder / FILE).stat()
    return hash((found.st_mtime_ns, found.st_ino))


def read(folder: Path) -> list[KeptKey]:
    """Return the keys."""
    return _KEYS.validate_json((folder / FILE).read_bytes())


def rotate(folder: Path, now: datetime, *, at_once: bool = False, drop: bool = False) -> KeptKey:
    """Add a key and return it; let the others go when their last token is over, or with `drop` now.

    Raises:
        ConfigurationError: there are no keys here, or the last rotation is still under way.
    """
    if not (folder / FILE).exists():
        raise ConfigurationError(f"{folder}: no keys of an issuer are here; PAIDONCE_ISSUER_FOLDER names its folder")
    with _alone(folder):
        kept = [key for key in read(folder) if key.is_published(now)]
        waiting = [key for key in kept if key.signs_from > now]
        if waiting and not (at_once or drop):
            raise ConfigurationError(
                f"a key is announced already and signs from {waiting[0].signs_from.isoformat(timespec='seconds')}: "
                "wait, or use --at-once"
            )
        new = KeptKey(pem=_new_pem(), signs_from=now if at_once or drop else now + ANNOUNCED)
        # One that only waits has signed nothing, and would take over from the new one.
        stay = [] if drop else [_retiring(key, new.signs_from) for key in kept if key not in waiting]
        _write(folder, [*stay, new])
        return new


def _retiring(key: KeptKey, successor_from: datetime) -> KeptKey:
    until = successor_from + RETIRING
    return key if key.published_until else key.model_copy(update={"published_until": until})


def _new_pem() -> str:
    return RSAKey.generate_key(KEY_BITS).as_pem(private=True).decode()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One rotation at a time, over all processes."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write(folder: Path, keys: list[KeptKey]) -> None:
    # Whole or not at all: who is killed here must not leave half a file.
    draft = folder / f".{FILE}.{os.getpid()}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(_KEYS.dump_json(keys))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / FILE)
