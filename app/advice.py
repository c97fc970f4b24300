"""What does PostgreSQL's refusal mean, and what is to be done? libpq says what it met; the setting is ours to name."""

#: Words in the message, and what follows from them.
MEANINGS = (
    ("certificate verify failed", "name who signed its certificate as sslrootcert in PAIDONCE_DSN"),
    ("does not match host name", "name the server in PAIDONCE_DSN as its certificate does"),
    ("root certificate file", "sslrootcert in PAIDONCE_DSN names no file of PEM"),
    ("server does not support SSL", "give it TLS, or take sslmode out of PAIDONCE_DSN"),
    ("no encryption", "add sslmode=verify-full and sslrootcert to PAIDONCE_DSN"),
    ("password authentication failed", "mend user and password in PAIDONCE_DSN"),
    ("no pg_hba.conf entry", "let this user in from here (pg_hba.conf), or mend PAIDONCE_DSN"),
)


def of(error: BaseException) -> str:
    """Return the first line of what libpq says, which has no password in it, and what is to be done."""
    said = str(getattr(error, "orig", None) or error)
    first = said.strip().splitlines()[0] if said.strip() else type(error).__name__
    todo = next((todo for words, todo in MEANINGS if words in said), "start it, or set PAIDONCE_DSN")
    return f"{first}: {todo}"
