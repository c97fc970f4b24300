"""Which kinds of fault are there? A plan names them by these words."""

from paidonce.chaos.arena import Nemesis
from paidonce.chaos.nemeses import network, operator, postgres, processes

KINDS: dict[str, Nemesis] = {
    "kill": processes.kill,
    "freeze": processes.freeze,
    "storm": processes.storm,
    "away": processes.away,
    "crash-postgres": postgres.crash,
    "cut-backends": postgres.cut_backends,
    "replay": operator.replay,
    **{kind.replace("_", "-"): network.nemesis(kind) for kind in network.KINDS},
}
