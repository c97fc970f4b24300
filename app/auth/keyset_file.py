"""Which keys did the issuer have when it last answered? Kept on disk, so that a start needs no issuer.

Whoever can write the file can write tokens: it is ours alone (mode 0600), and one that others may
write is not read (docs/design.md, "Who may call").
"""

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import orjson
import structlog

_log = structlog.get_logger(__name__)
#: What others may not do to the file.
WRITABLE_BY_OTHERS = 0o022


@dataclass(frozen=True, slots=True)
class Kept:
    """A key set as it was fetched."""

    body: bytes
    fetched_at: datetime
    #: seconds that the issuer let us keep it; None: it did not say
    max_age_s: int | None


class KeySetFile:
    """The file of one issuer's key set."""

    def __init__(self, folder: Path, issuer: str) -> None:
        self._issuer = issuer
        self.path = folder / f"{sha256(issuer.encode()).hexdigest()[:32]}.json"

    def save(self, kept: Kept) -> None:
        """Put the set in place of the last one, whole or not at all; what fails is only logged."""
        document = {
            "issuer": self._issuer,
            "fetched_at": kept.fetched_at.isoformat(),
            "max_age_s": kept.max_age_s,
            "body": kept.body.decode(),
        }
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._replace(orjson.dumps(document))
        except OSError as error:
            _log.warning("key set not kept", path=str(self.path), error=repr(error))

    def load(self) -> Kept | None:
        """Return the set; None when there is none, or none that may be trusted."""
        try:
            with self.path.open("rb") as file:
                found = os.fstat(file.fileno())
                if found.st_uid != os.geteuid() or found.st_mode & WRITABLE_BY_OTHERS:
                    _log.warning("key set on disk ignored: others may write it", path=str(self.path))
                    return None
                document = orjson.loads(file.read())
            if document["issuer"] != self._issuer:
                return None
            fetched_at, max_age_s = datetime.fromisoformat(document["fetched_at"]), document["max_age_s"]
            if fetched_at.tzinfo is None or not isinstance(max_age_s, int | None):
                raise ValueError("a time that is none")  # noqa: TRY301  one handling for whatever the file holds
            return Kept(document["body"].encode(), fetched_at, max_age_s)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _log.warning("key set on disk ignored", path=str(self.path), error=repr(error))
            return None

    def _replace(self, content: bytes) -> None:
        # mkstemp makes it with mode 0600, under a name of its own: two processes do not write into one.
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
