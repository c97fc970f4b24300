"""What can be set about traces? A part of app/settings.py; see docs/operations.md, "Traces"."""

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings


class TracesSettings(BaseSettings):
    """Where spans go, and of how many requests."""

    otlp_endpoint: str = Field(
        "",
        description="Where traces are sent, by OTLP over HTTP, as `http://collector:4318` (extra `tracing`); empty: no "
        "spans are made.",
    )
    otlp_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of the traces beginning here of which spans are made; whoever sends a `traceparent` has "
        "decided it for that trace.",
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _is_a_collectors_url(cls, endpoint: str) -> str:
        if endpoint and not endpoint.startswith(("http://", "https://")):
            raise ValueError("is no URL http://HOST:PORT or https://HOST:PORT")
        return endpoint.rstrip("/")
