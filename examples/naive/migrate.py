"""Make the tables and the topic."""

import os
from pathlib import Path

import psycopg
from kafka.admin import KafkaAdminClient, NewTopic

with psycopg.connect(os.environ["DATABASE_URL"]) as db:
    db.execute((Path(__file__).parent / "schema.sql").read_bytes())

admin = KafkaAdminClient(bootstrap_servers=os.environ["KAFKA"])
admin.create_topics([NewTopic("payments", num_partitions=4, replication_factor=1)])
admin.close()
