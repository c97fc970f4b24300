"""Which currencies are there? Those of ISO 4217 that have minor units, as the package iso4217 keeps them."""

from iso4217 import Currency

#: Codes such as XAU or XXX have no minor unit, so no integer amount of theirs means anything.
CURRENCIES = frozenset(currency.code for currency in Currency if currency.exponent is not None)


def known(code: str) -> str:
    """Return `code`; raises ValueError when it is none of CURRENCIES."""
    if code not in CURRENCIES:
        raise ValueError("is no ISO 4217 code of a currency with minor units")
    return code
