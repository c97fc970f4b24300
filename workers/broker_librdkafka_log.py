"""What does librdkafka say? Its log lines go to ours, and those about EndTxn are kept: there is no other sign of it.

The client sends an EndTxn again by itself when its connection broke or its coordinator moved, and
tells the caller nothing. The debug lines of its context `eos` do; they arrive before the call
returns. Should a later version word them otherwise, no line is recognised, and every window would
be followed by a new producer: slow, and safe (tests/contract/producer).
"""

import logging
from time import monotonic

import structlog

#: librdkafka's name for lines about EndTxn's answers, one for each time that it was sent.
END = "ENDTXN"
#: Begins such a line's text when the answer came and was good.
GOOD = "EndTxn returned NO_ERROR "
#: Its name for lines about an abort's progress, and what one says when Kafka knew of no transaction.
ABORT, NOTHING_TO_END = "TXNABORT", "not sending EndTxn"
#: Seconds for which a line that comes again is not repeated: a broker that refuses us makes hundreds a second.
SAME_S = 5.0


class Log:
    """Takes the place of a `logging.Logger` in the client."""

    def __init__(self) -> None:
        #: for each EndTxn sent since the last clear(), whether it was answered at once and well
        self.ends: list[bool] = []
        #: what was said last of each facility, and when it may be said again
        self._said: dict[str, tuple[str, float]] = {}

    @property
    def one_end(self) -> bool:
        """Whether one EndTxn was sent (or none, where there was nothing to end) and none may still be under way."""
        return self.ends == [True]

    def log(self, level: int, _format: str, facility: str, _client: str, line: str) -> None:
        """Take a line (called by the client, on the thread that polls it)."""
        if facility == END:
            self.ends.append(GOOD in line)
        elif facility == ABORT and NOTHING_TO_END in line:
            self.ends.append(True)
        if level > logging.DEBUG and not self._has_said(facility, line):
            structlog.get_logger().log(level, "librdkafka", facility=facility, line=line)

    def _has_said(self, facility: str, line: str) -> bool:
        words, now = line.partition(" (after ")[0], monotonic()
        last, until = self._said.get(facility, ("", 0.0))
        if words == last and now < until:
            return True
        self._said[facility] = (words, now + SAME_S)
        return False
