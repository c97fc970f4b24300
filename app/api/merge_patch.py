"""What does a merge patch make of a document? RFC 7396, section 2, word for word."""

from typing import Any


def merged(target: Any, patch: Any) -> Any:
    """Return `target` with `patch` applied; neither is changed. Depth is bounded by the body's parser."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result
