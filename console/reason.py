"""Why does somebody decide so? Every decision has a reason, for whoever reads the audit later."""

from paidonce.app.audit import REASON_CHARS_MAX
from paidonce.console.visit import Visit


def reason_of(visit: Visit) -> tuple[str, str]:
    """Return the reason that the form gives, and what is wrong with it; empty: nothing."""
    # A browser sends each end of a line as two characters, and counts it as one.
    reason = visit.form.get("reason", "").replace("\r\n", "\n").replace("\0", "").strip()
    if not reason:
        return "", "Say why: whoever reads the audit later was not here."
    if len(reason) > REASON_CHARS_MAX:
        return reason, f"A reason has {REASON_CHARS_MAX} characters at most."
    return reason, ""
