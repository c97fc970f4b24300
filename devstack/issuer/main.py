"""How does the development issuer run? `paidonce issuer`, as a process of its own."""

import signal
import sys

import structlog
import uvicorn

from paidonce.app import log
from paidonce.devstack.issuer import signing
from paidonce.devstack.issuer.app import NOTICE, create
from paidonce.devstack.issuer.configuration import IssuerSettings


def main() -> None:
    """Serve until SIGTERM or SIGINT; raises pydantic.ValidationError when PAIDONCE_ISSUER_FOLDER is missing."""
    settings = IssuerSettings()
    log.configure("issuer")
    structlog.get_logger(__name__).warning(NOTICE, iss=settings.iss)
    application = create(signing.kept_in(settings.folder), settings.iss)
    # uvicorn raises the signal that ended it once more, which would make a clean stop look like a kill.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(
        application,
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        access_log=False,
        log_config=None,
    )
