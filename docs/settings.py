"""Write docs/settings.md from the settings class: `make docs`."""

from pathlib import Path

from pydantic import SecretStr

from paidonce.app.settings import Settings

HEAD = """# Settings

Environment variables, read once at the start of each process (`app/settings.py`, and `app/settings_….py` beside it).
Any of them may be a file instead, with the variable's name, in the folder that `PAIDONCE_SECRETS_DIR` names; white
space around its content does not count, and a variable goes before a file.
`make docs` writes this page, `paidonce doctor` checks what is set.

| variable | default | what it is |
|---|---|---|
"""


def row(name: str) -> str:
    """Return one setting's row."""
    field = Settings.model_fields[name]
    default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    shown = "" if default in ("", None, [], {}, frozenset()) else f"`{default}`"
    return f"| `PAIDONCE_{name.upper()}` | {shown} | {field.description} |\n"


if __name__ == "__main__":
    parts_last = sorted(Settings.model_fields, key=lambda name: name not in Settings.__annotations__)
    text = HEAD + "".join(map(row, parts_last))
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
