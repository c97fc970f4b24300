"""Which kinds of fault are there? A plan names them by these words."""

from paidonce.chaos.arena import Nemesis
from paidonce.chaos.nemeses import disk, groups, issuer, kafka, network, operator, postgres, processes, valkey

KINDS: dict[str, Nemesis] = {
    "kill": processes.kill,
    "freeze": processes.freeze,
    "storm": processes.storm,
    "away": processes.away,
    "crash-postgres": postgres.crash,
    "cut-backends": postgres.cut_backends,
    "full-disk": disk.fill,
    "crash-broker": kafka.crash,
    "crash-controller": kafka.crash_controller,
    "delete-offsets": groups.delete_offsets,
    "rebalances": groups.rebalances,
    "crash-valkey": valkey.crash,
    "rotate-keys": issuer.rotate_keys,
    "replay": operator.replay,
    **{kind.replace("_", "-"): network.nemesis(kind) for kind in network.KINDS},
}
