"""What does one attempt bring? An answer that can be understood, or nothing: then nobody knows what happened."""

from collections.abc import Mapping
from typing import Any

import httpx

from .outcome import Ok, Refused
from .tokens import Tokens

#: Answers after which the same request may bring more: nothing is decided yet.
_LATER = frozenset({408, 425, 429})
_LATER_CODES = frozenset({"request-in-progress"})
#: Said of who asks, not of what is asked: with another token, or tomorrow, the same request may pass.
_OF_THE_CALLER = frozenset({401, 403, 429})
#: One of these is in every document of the API: of a resource, of a page.
_OURS = frozenset({"object", "data"})


def send(
    http: httpx.Client, tokens: Tokens, method: str, path: str, *, headers: Mapping[str, str], body: str | None
) -> httpx.Response | None:
    """Send it once, and with a new token once more if it was the token; None when no answer came."""
    try:
        answer = _sent(http, tokens, method, path, headers=headers, body=body)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            tokens.forget(str(answer.request.headers["Authorization"]).removeprefix("Bearer "))
            answer = _sent(http, tokens, method, path, headers=headers, body=body)
    except httpx.HTTPError:
        return None
    return answer


def _sent(
    http: httpx.Client, tokens: Tokens, method: str, path: str, *, headers: Mapping[str, str], body: str | None
) -> httpx.Response:
    authorized = {**headers, "Authorization": f"Bearer {tokens.current()}"}
    return http.request(method, path, headers=authorized, content=body)


def understood(answer: httpx.Response | None) -> Ok | Refused | None:
    """Return what an answer decides; None when it decides nothing."""
    if answer is None:
        return None
    document = _document(answer)
    if answer.is_success:
        # Not every 2xx is the API's: what a portal in between says is no payment.
        if not _OURS & document.keys():
            return None
        return Ok(document, answer.headers.get("ETag"), answer.headers.get("Idempotent-Replayed") == "true")
    code = str(document.get("code", ""))
    if not answer.is_client_error or answer.status_code in _LATER or code in _LATER_CODES:
        return None
    return Refused(answer.status_code, code, str(document.get("detail", "")))


def is_about_the_caller(refused: Refused) -> bool:
    """Tell whether the request itself has not been looked at."""
    return refused.status in _OF_THE_CALLER


def _document(answer: httpx.Response) -> dict[str, Any]:
    if "json" not in answer.headers.get("Content-Type", ""):
        return {}
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
