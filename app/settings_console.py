"""What can be set about the console of those who run it? A part of app/settings.py; see docs/console.md."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings


class ConsoleSettings(BaseSettings):
    """The page on a port of its own, for operators."""

    console_host: str = Field("127.0.0.1", description="Address that the console listens on.")
    console_port: int = Field(8085, ge=0, le=65535, description="Port that the console listens on.")
    console_url: str = Field(
        "",
        description="Where browsers find it, `https://console.example`; empty: `http://` and the two above. Over http "
        "on loopback only.",
    )
    console_issuer: str = Field(
        "", description="Which of the trusted issuers says who an operator is; needed where there are several."
    )
    console_tenants: frozenset[str] = Field(
        frozenset(),
        description="Tenants whose people with the role operator are operators of the whole installation, as a JSON "
        "list; the console starts with one at least. An operator sees every tenant.",
    )
    console_client_id: str = Field("paidonce-console", description="The console's OAuth client at that issuer.")
    console_client_secret: SecretStr = Field(
        SecretStr(""), description="That client's secret; empty: a public client, with PKCE alone."
    )
    console_secret: SecretStr = Field(
        SecretStr(""),
        description="Encrypts the console's cookies, 32 characters or more; empty: drawn at its start, so a restart "
        "logs everybody out, and there may be one replica only.",
    )
    console_probes: dict[str, str] = Field(
        {}, description='Processes whose readiness it shows, as JSON: `{"relay": "http://relay:8090/readyz"}`.'
    )
    console_look_s: float = Field(5.0, ge=1, description="Seconds between its looks at the pipeline.")
