"""How does a function of yours become a handler? By `@handler`, and by `paidonce consumer NAME --handlers MODULE`.

The consumer is the machinery that Paidonce's own have: inbox, parked keys, dead letters, brake
(docs/design.md, "Inbox").
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, get_type_hints, overload

from pydantic import BaseModel, ValidationError
from sqlalchemy import Connection

from paidonce.app.errors import ConfigurationError
from paidonce.app.messaging.envelope import Message
from paidonce.app.messaging.handlers import Handler, Subscriber, each
from paidonce.app.messaging.outcomes import Outcome, Poison
from paidonce.app.messaging.topics import PAYMENT, about_of_type
from paidonce.app.payments.events import EVENT_TYPES
from paidonce.app.yours import modules
from paidonce.app.yours.held import held

Data = TypeVar("Data", bound=BaseModel | Message)

#: The attribute in which a function keeps what it is the handler of.
MARK = "__paidonce_handles__"
#: Part of a Kafka group's name and of metrics.
CONSUMER = re.compile(r"[a-z][a-z0-9_-]{0,99}")


@dataclass(frozen=True, slots=True)
class Handles:
    """What a function handles, and how it wants to be called."""

    event_type: str
    consumer: str
    function: Callable[..., Outcome]
    #: what the payload is made into; None: the message is handed over as it came
    model: type[BaseModel] | None
    #: whether it wants the message besides
    wants_message: bool

    def work(self, tx: Connection, message: Message) -> Outcome:
        """Hand the message over, in a transaction that the function cannot end."""
        arguments: list[BaseModel | Message] = [message]
        if self.model is not None:
            try:
                data = self.model.model_validate_json(message.value)
            except ValidationError as error:
                return Poison(f"the payload is no {self.model.__name__}: {_places(error)}")
            arguments = [data, message] if self.wants_message else [data]
        with held(tx):
            return self.function(tx, *arguments)


class Decorator(Protocol):
    """Takes a function of two shapes, and returns it."""

    @overload
    def __call__(self, function: Callable[[Connection, Data], Outcome], /) -> Callable[[Connection, Data], Outcome]: ...
    @overload
    def __call__(
        self, function: Callable[[Connection, Data, Message], Outcome], /
    ) -> Callable[[Connection, Data, Message], Outcome]: ...


def handler(event_type: str, *, consumer: str) -> Decorator:
    """Make a function the handler of `event_type` for `consumer`.

    The function gets the transaction (a SQLAlchemy `Connection`, which it must not end) and the payload as the
    pydantic model that its annotation names, or the whole `Message`; a third parameter `message: Message` gets that
    besides a model. It answers `Done()`: what it wrote counts; `RetryLater(delay, reason)`: this message waits, and
    every later one of its key; `Poison(reason)`: a dead letter. An exception is poison, unless the database says
    "try again"; so is a payload that is not as the model has it.

    Raises:
        ConfigurationError: no event type, no consumer's name, or a function of another shape.
    """
    about = about_of_type(event_type)
    if about == PAYMENT and event_type not in EVENT_TYPES:
        raise ConfigurationError(f"there is no event {event_type}: it is one of {', '.join(sorted(EVENT_TYPES))}")
    if not CONSUMER.fullmatch(consumer):
        raise ConfigurationError(f"{consumer!r} names no consumer: small letters, digits, _ and -, a letter first")

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        model, wants_message = _shape(function)
        handles = Handles(event_type, consumer, function, model, wants_message)
        setattr(function, MARK, (*getattr(function, MARK, ()), handles))
        return function

    return mark


def found(names: Iterable[str]) -> list[Handles]:
    """Return what the handlers in the modules `names` handle; raises as `modules.members` does."""
    marked = (getattr(member, MARK, None) for member in modules.members(names))
    return [handles for marks in marked if isinstance(marks, tuple) for handles in marks]


def subscriber(consumer: str, handlers: Iterable[Handles]) -> Subscriber:
    """Return the consumer `consumer` of these handlers.

    Raises:
        ConfigurationError: it has none, two for one type, or types of several topics.
    """
    everyone = list(handlers)
    own = [one for one in everyone if one.consumer == consumer]
    if not own:
        others = ", ".join(sorted({one.consumer for one in everyone})) or "nobody"
        raise ConfigurationError(f"these modules have no handler for consumer {consumer!r}, only for {others}")
    return subscriber_of(consumer, [(one.event_type, one.work) for one in own])


def subscriber_of(consumer: str, works: Iterable[tuple[str, Handler]], *, alone: bool = False) -> Subscriber:
    """Return the consumer of these works by event type; raises as `subscriber` does."""
    by_type: dict[str, Handler] = {}
    for type_, work in works:
        if type_ in by_type:
            raise ConfigurationError(f"consumer {consumer} has two handlers of {type_}: it takes one")
        by_type[type_] = work
    return each(consumer, by_type, aggregatetype=_about(consumer, by_type), alone=alone)


def _about(consumer: str, by_type: Mapping[str, Handler]) -> str:
    about = sorted({about_of_type(type_) for type_ in by_type})
    if len(about) > 1:
        raise ConfigurationError(
            f"consumer {consumer} has handlers of events about {' and '.join(about)}, which are on a topic each: "
            "give each a consumer of its own"
        )
    return about[0]


def _shape(function: Callable[..., Any]) -> tuple[type[BaseModel] | None, bool]:
    """Return the model that the function wants, None for the message itself, and whether it wants both."""
    name = getattr(function, "__qualname__", repr(function))
    if inspect.iscoroutinefunction(function):
        raise ConfigurationError(f"handler {name} is `async def`: the transaction that it gets is not; write `def`")
    hints = get_type_hints(function)
    wanted = [hints.get(parameter) for parameter in inspect.signature(function).parameters]
    match wanted:
        case [_, data] if data is Message:
            return None, False
        case [_, data] if _is_model(data):
            return data, False
        case [_, data, message] if _is_model(data) and message is Message:
            return data, True
    raise ConfigurationError(
        f"handler {name} must be `def {name}(tx: Connection, data: YOUR_MODEL) -> Done | RetryLater | Poison`, with a "
        "pydantic model or paidonce.Message as the second parameter, and `message: Message` as a third where wanted"
    )


def _is_model(hint: object) -> bool:
    return isinstance(hint, type) and issubclass(hint, BaseModel)


def _places(error: ValidationError) -> str:
    """Say what is wrong where, without the payload's values."""
    wrong = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'all of it'}: {one['msg']}" for one in wrong[:5])
