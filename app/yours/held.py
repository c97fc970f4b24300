"""How is a transaction kept from being ended by a handler? For as long as that runs, its ends are out of reach.

A handler's COMMIT would make the inbox rows of the whole batch true, of messages too that nobody has worked on; its
ROLLBACK would take back the row of its own, and the message would be done twice (S9).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from paidonce.app.errors import ConfigurationError

#: What ends a transaction, or takes the connection away from under it.
ENDS = ("commit", "rollback", "close", "invalidate", "detach")


def _refuse(*_: object, **__: object) -> None:
    raise ConfigurationError(
        "a handler must not end the transaction that it is given: it is committed with the inbox, once the handler "
        "answered; take back a part of your own work with `with tx.begin_nested():`"
    )


@contextmanager
def held(tx: Connection) -> Iterator[None]:
    """Let nobody end `tx` before the block does.

    Raises:
        ConfigurationError: somebody did, or tried to; roll back.
    """
    own, begun = vars(tx), (tx.get_transaction(), tx.get_nested_transaction())
    own |= dict.fromkeys(ENDS, _refuse)
    try:
        yield
    finally:
        for name in ENDS:
            del own[name]
    # A session that joined it can end it without asking the connection.
    if begun != (tx.get_transaction(), tx.get_nested_transaction()):
        _refuse()
