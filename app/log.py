"""How does a process speak? JSON lines by structlog, without anything secret or personal.

Ids are bound once (`structlog.contextvars.bind_contextvars`) and appear in every line of the
request or message: request_id, payment_id, message_id. trace_id, and span_id where spans are made, are
those of the work under way (app/trace_context.py).
"""

import logging
import sys
from typing import BinaryIO

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor, WrappedLogger

from paidonce.app import trace_context

#: A line may carry these names by mistake; their values never leave the process.
SECRET_NAMES = frozenset(
    {"authorization", "token", "access_token", "secret", "password", "signature", "cookie", "name", "email"}
    | {"payment_method", "body", "payload", "request", "response", "dsn"}
)


def _without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name in event.keys() & SECRET_NAMES:
        event[name] = "[removed]"
    return event


def _named(process: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["process"] = process
        return event

    return add


def _traced(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in trace_context.words().items():
        event.setdefault(name, value)
    return event


def configure(process: str, level: str = "INFO", to: BinaryIO | None = None) -> None:
    """Set up logging for the process named `process`; `level` is a name of the logging module."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _named(process),
            _traced,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _without_secrets,
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(serializer=orjson.dumps, default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.BytesLoggerFactory(to or sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    # Kafka's client says the same several times a second while a broker is away; our own lines say it once.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    # So does the exporter of spans while the collector is away; app/tracing.py says it once.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_ToStructlog()], force=True)


class _ToStructlog(logging.Handler):
    """Libraries speak through the logging module; their lines join ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record as one of our lines."""
        log = structlog.get_logger(record.name)
        log.log(record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info)
