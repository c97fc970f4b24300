"""What does a person see? A form for name and password that says whose it is; no script, no frame, no cache."""

from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from html import escape
from string import Template

from starlette.responses import HTMLResponse, Response

from paidonce.devstack.issuer.clients import origin_of

_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:22rem;margin:4rem auto;padding:0 1rem}"
    "label{display:block;margin-top:1rem}input{width:100%;font:inherit;padding:.4rem;box-sizing:border-box}"
    "button{margin-top:1.5rem;font:inherit;padding:.5rem 1.5rem}.wrong{color:#a00}.notice{color:#555;font-size:.85rem}"
)
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
_PAGE = Template(
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Paidonce: log in</title>'
    '<meta name="viewport" content="width=device-width"><style>$style</style></head>'
    "<body><h1>$heading</h1>$body<p class=notice>$notice</p></body></html>"
)
_FORM = Template(
    "<p><b>$client</b> asks to act for you: $scopes</p>$message"
    '<form method="post" action="authorize">$hidden'
    '<label>Name <input name="username" autocomplete="username" required autofocus value="$name"></label>'
    '<label>Password <input name="password" type="password" autocomplete="current-password" required></label>'
    "<button>Log in</button></form>"
)
#: Whoever looks at it must see what it is.
NOTICE = "Paidonce's development issuer: its secrets are public. Never let it vouch for anyone real."


def form(
    fields: Mapping[str, str],
    client_id: str,
    scopes: tuple[str, ...],
    *,
    name: str = "",
    wrong: str = "",
    status: int = 200,
) -> Response:
    """Return the login form, which carries the authorization request `fields`; `wrong` says what went wrong before."""
    hidden = "".join(f'<input type="hidden" name="{escape(key)}" value="{escape(fields[key])}">' for key in fields)
    body = _FORM.substitute(
        client=escape(client_id),
        scopes=escape(" ".join(scopes)),
        message=f"<p class=wrong>{escape(wrong)}</p>" if wrong else "",
        hidden=hidden,
        name=escape(name),
    )
    # A browser follows the answer's redirect as part of the form's action.
    return _page("Log in", body, status, f"'self' {origin_of(fields['redirect_uri'])}")


def refused(reason: str, status: int = 400) -> Response:
    """Return the page for a request that leads nowhere."""
    return _page("This does not work", f"<p class=wrong>{escape(reason)}</p>", status, "'none'")


def _page(heading: str, body: str, status: int, form_action: str) -> Response:
    page = _PAGE.substitute(style=_STYLE, heading=escape(heading), body=body, notice=escape(NOTICE))
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {form_action}; "
        "frame-ancestors 'none'; base-uri 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        # Not `no-referrer`: browsers would post the form with `Origin: null`, which is nobody's.
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
    return HTMLResponse(page, status, headers)
