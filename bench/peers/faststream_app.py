"""How fast does faststream-outbox publish to Kafka? Its relay as its documentation has it, set as that says for speed.

Its own table with its recommended autovacuum settings, asyncpg, many workers, deletes in batches;
no log line for each message. At least once, and with more than
one worker in no particular order: that is what it promises.

`prepare` in BENCH_JOB makes the table and ends; otherwise it relays until it is stopped.
"""

import asyncio
import json
import os

from faststream import FastStream
from faststream.kafka import KafkaBroker, KafkaResponse
from faststream_outbox import OutboxBroker, make_outbox_table
from faststream_outbox.annotations import OutboxMessage
from faststream_outbox.autovacuum import outbox_autovacuum_ddl
from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

JOB = json.loads(os.environ["BENCH_JOB"])
METADATA = MetaData()
TABLE = make_outbox_table(METADATA, table_name="outbox")


def connect() -> AsyncEngine:
    """Return an engine with a connection for each worker and the fetcher."""
    workers = JOB["workers"]
    return create_async_engine(JOB["dsn"].replace("postgresql://", "postgresql+asyncpg://", 1), pool_size=workers + 4)


async def prepare() -> None:
    """Make the table."""
    engine = connect()
    async with engine.begin() as connection:
        await connection.run_sync(METADATA.create_all)
        await connection.execute(text(outbox_autovacuum_ddl("outbox")))
    await engine.dispose()


async def relay() -> None:
    """Relay until SIGTERM."""
    outbox = OutboxBroker(connect(), outbox_table=TABLE, logger=None)
    kafka = KafkaBroker(JOB["bootstrap"], acks="all", enable_idempotence=True, logger=None)

    @kafka.publisher(JOB["topic"])  # type: ignore[untyped-decorator]  # the peer has no types here
    @outbox.subscriber(  # type: ignore[untyped-decorator]  # the same
        "payments",
        max_workers=JOB["workers"],
        fetch_batch_size=JOB["fetch"],
        terminal_flush_batch_size=JOB["flush"],
        min_fetch_interval=0.01,
        max_fetch_interval=1.0,
    )
    async def pass_on(message: OutboxMessage) -> KafkaResponse:
        return KafkaResponse(message.body, headers=message.headers, key=message.headers["ce_subject"].encode())

    await FastStream(outbox, on_startup=[kafka.connect], logger=None).run()
    await kafka.stop()


if __name__ == "__main__":
    asyncio.run(prepare() if JOB.get("prepare") else relay())
    print(json.dumps({}))
