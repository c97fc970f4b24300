"""How does the development issuer run? `paidonce issuer`, as a process of its own."""

import signal
import sys

import structlog
import uvicorn

from paidonce.app import log
from paidonce.devstack.issuer import signing
from paidonce.devstack.issuer.app import create
from paidonce.devstack.issuer.configuration import issuer_settings
from paidonce.devstack.issuer.database import Database
from paidonce.devstack.issuer.login_page import NOTICE
from paidonce.devstack.issuer.logins import Logins


def main() -> None:
    """Serve until SIGTERM or SIGINT; raises pydantic.ValidationError when PAIDONCE_ISSUER_FOLDER is missing."""
    settings = issuer_settings()
    log.configure("issuer")
    structlog.get_logger(__name__).warning(NOTICE, iss=settings.iss)
    application = create(
        signing.kept_in(settings.folder),
        settings.iss,
        database=Database(settings.dsn),
        logins=Logins(per_minute=settings.logins_per_minute),
        redirect_uris=settings.redirect_uris,
    )
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
        # Addresses are counted as they connect: nobody's header may choose one.
        proxy_headers=False,
    )
