"""What do a provider's objects tell, whatever adapter brought them? Whether they answer us, and what counts."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import orjson
import structlog

from paidonce.app.messaging.answers import NoAnswer, Refused, Rejected, Succeeded
from paidonce.app.payments.provider import ObjectKind, ProviderCharge, ProviderRefund

log = structlog.get_logger(__name__)

_CODE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
#: What an answer must repeat of its request, else it answers another.
_ECHOED: Mapping[ObjectKind, tuple[str, ...]] = MappingProxyType(
    {"charge": ("amount", "currency", "reference"), "refund": ("charge", "amount", "reference")}
)


def answers(kind: ObjectKind, request: bytes, made: ProviderCharge | ProviderRefund) -> bool:
    """Tell whether `made` is what `request` asked for."""
    asked = orjson.loads(request)
    return all(getattr(made, name) == asked[name] for name in _ECHOED[kind])


def definite(made: ProviderCharge | ProviderRefund) -> Succeeded | Refused:
    """Return what an object that has ended says."""
    if made.status in {"captured", "succeeded"}:
        return Succeeded(made.model_dump())
    code = made.decline_code if isinstance(made, ProviderCharge) else made.failure_code
    return Refused(code or made.status, made.model_dump())


def rejected(code: str | None, status: int) -> Rejected:
    """Return the rejection under the provider's code, where that is one, or under its HTTP status."""
    return Rejected(code if code and _CODE.fullmatch(code) else f"provider-{status}")


def one_of(
    kind: ObjectKind, reference: str, found: Sequence[Succeeded | Refused | NoAnswer]
) -> Succeeded | Refused | NoAnswer:
    """Return the one that counts: money that moved, else what may still move it; several are for a person to see."""
    moved = [one for one in found if isinstance(one, Succeeded)]
    undecided = [one for one in found if isinstance(one, NoAnswer)]
    if len(found) > 1:
        log.error("provider_has_several_objects", kind=kind, reference=reference, found=len(found), moved=len(moved))
    return [*moved, *undecided, *found][0]
