"""Relays to be struck: one process that has imported everything, and makes a relay of each line that it reads.

`struck_relay.py`, settings in the environment. A line of its input is JSON, the strike of the next relay:
`{"step": "relay.send", "when": "after", "nth": 3}` kills it with SIGKILL right after its third pass through that step;
`{"fail": "relay.add_number"}` besides makes that step raise, and `{"stop": true}` sends SIGTERM after the first
window; `{}` strikes nothing. Of each relay it prints `pid N`, then `code N` when it has ended.
"""

import json
import os
import signal
import sys

from paidonce.app import steps
from paidonce.app.settings import settings
from paidonce.workers import relay, relay_shard
from paidonce.workers.broker import BrokerAwayError

#: After this many windows a relay that shall stop in order has something to hand over.
WINDOWS_BEFORE_STOP = 1


class Strike:
    """Kills this process at its place."""

    def __init__(self, planned):
        self.step, self.when, self.left = planned.get("step"), planned.get("when"), planned.get("nth", 1)
        self.fail, self.stop_after = planned.get("fail"), WINDOWS_BEFORE_STOP if planned.get("stop") else 0

    def before(self, step):
        self._pass(step, "before")
        if step == self.fail:
            raise BrokerAwayError("as the plan has it")

    def after(self, step, seconds, error):
        self._pass(step, "after")
        if step == "relay.commit" and self.stop_after:
            self.stop_after -= 1
            os.kill(os.getpid(), signal.SIGTERM)

    def _pass(self, step, when):
        if (step, when) == (self.step, self.when):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def start(planned):
    pid = os.fork()
    if pid:
        return pid
    try:
        steps.listen(Strike(planned))
        # Between any two windows a shard says that it is idle, so that this step is on the way under load too.
        relay_shard.IDLE_S = -1.0
        relay.main(settings())
    except BaseException:  # noqa: BLE001  the child says why it ends, and ends
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


for line in sys.stdin:
    child = start(json.loads(line))
    print(f"pid {child}", flush=True)
    print(f"code {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}", flush=True)
