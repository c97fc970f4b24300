"""What can go wrong with a benchmark?"""

from paidonce.app.errors import PaidonceError


class BenchError(PaidonceError):
    """The benchmark has no figure: the message says why."""
