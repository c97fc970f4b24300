"""What can be set about events and handlers of your own? A part of app/settings.py; see docs/own-workers.md."""

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings


class YoursSettings(BaseSettings):
    """Events about something of your own, and handlers that are URLs."""

    own_topics: str = Field(
        "{}s",
        description="Topic of events about something of your own, `{}` being what they are about: `order.placed` goes "
        "to `orders`. Two installations on one Kafka cluster need one each, as `staging.{}s`.",
    )
    push_secret: SecretStr = Field(
        SecretStr(""), description="Signs the messages that are pushed to handlers that are URLs, `whsec_…`."
    )
    push_call_s: float = Field(
        5.0,
        gt=0,
        le=20,
        description="Seconds that one push may take: its transaction is open for so long, and is ended after 30.",
    )
    push_again_s: float = Field(
        5.0, gt=0, description="Seconds until a message is pushed again whose URL did not say when."
    )

    @field_validator("own_topics")
    @classmethod
    def _names_what_they_are_about(cls, pattern: str) -> str:
        if pattern.count("{}") != 1 or "{" in pattern.replace("{}", "") or "}" in pattern.replace("{}", ""):
            raise ValueError("must have {} in it once, for what the events are about")
        return pattern
