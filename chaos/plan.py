"""What does a plan ask for? A TOML file: what is paid, on which ground, and which faults come meanwhile.

The plans of the house are in `chaos/plans/`; any file of the same form is one too.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator

from paidonce.chaos.sabotage import SAFEGUARDS
from paidonce.chaos.strikes import Strike

FOLDER = Path(__file__).parent / "plans"
#: The share of the load's time in which faults fall: not before the first payments, not after the last.
SPAN = (0.08, 0.92)


class PlanError(Exception):
    """There is no such plan, or it is none; the message says what is wrong where."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Load(_Part):
    """How much is paid, and how quickly."""

    payments: int = Field(300, ge=1)
    #: payments a second: several in each part of the pipeline at any moment, and still room for restarts on two cores
    pace: float = Field(20.0, gt=0)
    #: seconds at least: for each successor to be hit too
    seconds: float = Field(12.0, gt=0)
    #: what the provider does with a payment -> its weight; empty: the mixture of chaos/intents.py
    methods: Mapping[str, int] = {}
    #: seconds after which the faults come again, about; None: once
    every_s: float | None = Field(None, gt=0)
    #: seconds after the load within which everything must be final
    drain_s: float = Field(30.0, gt=0)
    #: seconds without a call to the provider after which a pipeline of somebody else's is through: above its longest
    #: pause, be it between retries or until another takes over from a dead one
    rest_s: float = Field(8.0, gt=0)
    #: seconds that a client waits for its payment to become final, before it leaves that to the drain
    patience_s: float = Field(30.0, gt=0)

    @property
    def lasts_s(self) -> float:
        """Seconds over which the payments are spread."""
        return max(self.seconds, self.payments / self.pace)

    @property
    def rounds(self) -> int:
        """How often the faults come."""
        return max(1, round(self.lasts_s / self.every_s)) if self.every_s else 1


class Ground(_Part):
    """What the run is made on."""

    replicas: int = Field(2, ge=1)
    brokers: int = 1
    standby: bool = False
    proxied: bool = False
    #: whether a PgBouncer in transaction mode stands before PostgreSQL
    pooled: bool = False
    #: whether each process logs in to PostgreSQL by its own role (docs/roles.md)
    roles: bool = False
    #: megabytes of PostgreSQL's own disk, for the fault full-disk; None: it shares the machine's
    disk_mb: int | None = Field(None, ge=256)
    #: workers of which there are two: `relay` is joined by `relay-2`
    pairs: tuple[str, ...] = ()
    #: settings of our processes, by field name
    settings: Mapping[str, Any] = {}


class Expects(_Part):
    """What the plan's provider makes inevitable, and what of it must be seen."""

    #: kinds of effects of which some must stay unknown for a person
    unknown: tuple[Literal["charge", "refund"], ...] = ()
    #: how the provider must have behaved at least once (ANSWERS in chaos/witnesses.py)
    answers: tuple[str, ...] = ()


class Faults(_Part):
    """Faults of one kind: `times` at each target."""

    #: a name in chaos/nemeses/__init__.py
    kind: str
    targets: tuple[str, ...]
    times: int = Field(1, ge=1)
    #: how long each lasts, drawn between the two
    for_s: tuple[float, float] = (0.0, 0.0)
    #: the share of the load's time in which they fall
    at: tuple[float, float] = SPAN
    args: Mapping[str, Any] = {}


def _known(safeguard: str) -> str:
    if safeguard not in SAFEGUARDS:
        raise ValueError(f"is none of {', '.join(SAFEGUARDS)}")
    return safeguard


Safeguard = Annotated[str, AfterValidator(_known)]


class Finds(_Part):
    """What the plan must bring to light when a safeguard is taken out."""

    safeguard: Safeguard
    #: the checker that must report it (chaos/checkers/__init__.py)
    checker: str
    #: a pattern for what it says and its evidence, line by line: the bug that the safeguard prevents
    bug: str


class Plan(_Part):
    """A plan as its file says it."""

    name: str
    #: in one sentence, what is tried
    says: str
    load: Load = Load()
    ground: Ground = Ground()
    expects: Expects = Expects()
    faults: tuple[Faults, ...] = ()
    #: process -> strikes at its steps (chaos/strikes.py), whose passes count from the load's begin
    strikes: Mapping[str, tuple[str, ...]] = {}
    #: process -> seconds that its clock is ahead
    skew_s: Mapping[str, float] = {}
    #: processes that no fault stops: they live through the run, and what they hold must not grow
    spares: tuple[str, ...] = ()
    #: safeguards that are missing in all our processes (chaos/sabotage/)
    sabotage: tuple[Safeguard, ...] = ()
    #: which safeguards it finds missing (`paidonce chaos matrix`)
    finds: tuple[Finds, ...] = ()

    @field_validator("strikes")
    @classmethod
    def _strikes_have_the_form(cls, strikes: Mapping[str, tuple[str, ...]]) -> Mapping[str, tuple[str, ...]]:
        for texts in strikes.values():
            for text in texts:
                Strike.parse(text)
        return strikes


def load(name: str) -> Plan:
    """Return the plan of that name, or of the file at that path.

    Raises:
        PlanError: it cannot be found or read.
    """
    path = FOLDER / f"{name}.toml" if name in names() else Path(name)
    try:
        return Plan(name=path.stem, **_said(path))
    except OSError:
        raise PlanError(f"there is no plan {name!r}: name a TOML file, or one of {', '.join(names())}") from None
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{path} is no TOML: {error}") from None
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'plan'}: {one['msg']}" for one in error.errors())
        raise PlanError(f"{path}: {wrong}") from None


def _said(path: Path) -> dict[str, Any]:
    """Return what a file says over what the plan of the house says that it is `like`."""
    said = tomllib.loads(path.read_text())
    like = said.pop("like", None)
    if like is None:
        return said
    if like not in names():
        raise PlanError(f"{path} is like {like!r}, which is none of {', '.join(names())}")
    base = _said(FOLDER / f"{like}.toml")
    tables = {part: {**base.get(part, {}), **said[part]} for part in ("load", "ground", "expects") if part in said}
    return base | said | tables


def names() -> list[str]:
    """Return the names of the plans of the house."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))
