"""How is a text of others shown at a terminal? Without what a terminal would obey: colours, titles, forged lines."""


def visible(text: str, *, keep: str = "") -> str:
    """Return the text with a `?` for each character that is not seen; those of `keep` stay."""
    return "".join(char if char.isprintable() or char in keep else "?" for char in text)
