"""What does a check of `paidonce doctor` raise, and how long does it wait?"""

from paidonce.app.errors import PaidonceError

#: Seconds for one question to one server.
ANSWER_S = 5.0


class WrongError(PaidonceError):
    """A check failed: the message says what is wrong, and after a colon what to do."""
