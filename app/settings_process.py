"""What can be set about every process, whatever it does? A part of app/settings.py; see docs/operations.md."""

from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings


class ProcessSettings(BaseSettings):
    """What a process says of itself, and how it ends."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The least that is logged.")
    probe_host: str = Field("127.0.0.1", description="Address of the next two, which ask nobody who they are.")
    metrics_port: int = Field(0, ge=0, le=65535, description="Port of /metrics; 0 serves none.")
    worker_port: int = Field(0, ge=0, le=65535, description="Port of a worker's /healthz and /readyz; 0 serves none.")
    worker_stuck_s: float = Field(
        60.0,
        gt=0,
        description="Seconds that one pass of a worker may take; then /readyz says 503: the longest wait for "
        "PostgreSQL is as long.",
    )
    stop_s: float = Field(
        20.0,
        gt=0,
        description="Seconds from SIGTERM to the end of a process, whoever it waits for: longer than a call to the "
        "provider and writing down its result. What is not done by then is left as by a kill.",
    )
    api_drain_s: float = Field(
        0.0,
        ge=0,
        description="Seconds from SIGTERM for which the API goes on as ever, but for /readyz, which says 503: until "
        "a load balancer has noticed. 0 where somebody else sees to that, as deploy/ does.",
    )
