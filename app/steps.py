"""Where in the pipeline are we? Each stage on the path is one function marked with `@step`.

That one seam serves three ends: a tracing span, a duration histogram, and a place where the
fault rig can strike (docs/design.md, "Steps"). Listeners are installed by the launcher of a
process, never by the code that is marked; with none, a step costs one check of an empty tuple.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from time import perf_counter
from typing import Any, Protocol, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])


class Listener(Protocol):
    """Is told before and after each pass through a step; what `before` or `after` raises, the step raises."""

    def before(self, step: str) -> None:
        """Run right before the step."""

    def after(self, step: str, seconds: float, error: BaseException | None) -> None:
        """Run right after it; `error` is what it raised, None when it returned."""


_listeners: tuple[Listener, ...] = ()
_names: set[str] = set()


def listen(listener: Listener) -> None:
    """Install a listener for this process."""
    global _listeners  # noqa: PLW0603  one process, one set of listeners
    _listeners = (*_listeners, listener)


def names() -> frozenset[str]:
    """Return the names of every step imported so far."""
    return frozenset(_names)


def step(name: str) -> Callable[[Function], Function]:
    """Mark a function (plain or async) as the stage `name`, written `process.stage`."""

    def mark(function: Function) -> Function:
        _names.add(name)
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def passed_async(*args: Any, **kwargs: Any) -> Any:
                if not _listeners:
                    return await function(*args, **kwargs)
                began = _enter(name)
                try:
                    result = await function(*args, **kwargs)
                except BaseException as error:
                    _leave(name, began, error)
                    raise
                _leave(name, began, None)
                return result

            return cast("Function", passed_async)

        @wraps(function)
        def passed(*args: Any, **kwargs: Any) -> Any:
            if not _listeners:
                return function(*args, **kwargs)
            began = _enter(name)
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                _leave(name, began, error)
                raise
            _leave(name, began, None)
            return result

        return cast("Function", passed)

    return mark


def _enter(name: str) -> float:
    for listener in _listeners:
        listener.before(name)
    return perf_counter()


def _leave(name: str, began: float, error: BaseException | None) -> None:
    seconds = perf_counter() - began
    for listener in _listeners:
        listener.after(name, seconds, error)
