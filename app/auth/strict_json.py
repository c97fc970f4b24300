"""Is this JSON that every reader understands alike? The parser in front of tokens and key sets.

Two readers of `{"aud": "a", "aud": "b"}` may see two different tokens; so duplicate members are
refused, and with them NaN, text that is not UTF-8, and nesting that would exhaust the stack.
"""

import json
import re
from typing import Any

#: Levels of arrays and objects; an access token needs 4 (Keycloak's resource_access).
DEPTH_MAX = 8
# A string without an end is one mark as well: else each of its quotes would begin another search to the end.
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[{]|[\]}]', re.DOTALL)


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in `raw`; raises ValueError naming the rule that it breaks."""
    text = raw.decode("utf-8")
    if _depth(text) > DEPTH_MAX:
        raise ValueError("nested too deeply")
    document = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_refuse)
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  one error for whatever the bytes are
    return document


def _depth(text: str) -> int:
    # Counting every bracket is cheap and never too low; only a suspicious text is read closely.
    if text.count("[") + text.count("{") <= DEPTH_MAX:
        return 0
    depth = deepest = 0
    for mark in _MARKS.findall(text):
        if mark in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in "]}":
            depth -= 1
    return deepest


def _without_duplicates(members: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(members)
    if len(document) != len(members):
        raise ValueError("duplicate members")
    return document


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
