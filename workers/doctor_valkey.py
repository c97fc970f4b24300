"""Does Valkey take us? Asked over a socket of our own, so that the answer is its own and not a library's."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import SplitResult, unquote, urlsplit

from paidonce.app.settings import Settings
from paidonce.app.settings_servers import VALKEY_TLS
from paidonce.workers.doctor_finding import ANSWER_S, WrongError


def valkey(settings: Settings) -> str:
    """The server is who it should be, and answers our name and password."""
    url = urlsplit(settings.valkey)
    words = [unquote(word) for word in (url.username, url.password) if word]
    lines = [*([["AUTH", *words]] if words else []), ["PING"]]
    asked = b"".join(_resp(line) for line in lines)
    try:
        with _connected(settings, url) as connection:
            connection.sendall(asked)
            said = b""
            while said.count(b"\r\n") < len(lines) and (more := connection.recv(4096)):
                said += more
    except ssl.SSLError as error:
        raise WrongError(
            f"cannot be spoken to in TLS ({error}): name who signed its certificate in PAIDONCE_VALKEY_CA, and the "
            "server in PAIDONCE_VALKEY as that does"
        ) from error
    except OSError as error:
        raise WrongError(f"does not answer ({error}): start it, or set PAIDONCE_VALKEY") from error
    if not said:
        raise WrongError("hangs up: if it speaks TLS, make PAIDONCE_VALKEY rediss://, and set PAIDONCE_VALKEY_CA")
    if not said.endswith(b"+PONG\r\n"):
        raise WrongError(f"says {said.decode(errors='replace').strip()!r}: mend name and password in PAIDONCE_VALKEY")
    return "answers"


@contextmanager
def _connected(settings: Settings, url: SplitResult) -> Iterator[socket.socket]:
    host = url.hostname or "127.0.0.1"
    with socket.create_connection((host, url.port or 6379), ANSWER_S) as plain:
        if url.scheme not in VALKEY_TLS:
            yield plain
            return
        try:
            context = ssl.create_default_context(cafile=settings.valkey_ca)
        except OSError as error:
            raise WrongError(f"PAIDONCE_VALKEY_CA names a file that cannot be used ({error}): give it PEM") from error
        with context.wrap_socket(plain, server_hostname=host) as encrypted:
            yield encrypted


def _resp(words: list[str]) -> bytes:
    """Encode a command as Valkey reads it (RESP2): lengths first, so that no password can break out."""
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
