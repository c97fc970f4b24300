"""Make the tables of the file that is named, and the topic."""

import os
import sys
from pathlib import Path

import psycopg
from kafka.admin import KafkaAdminClient, NewTopic

with psycopg.connect(os.environ["DATABASE_URL"]) as db:
    db.execute(Path(sys.argv[1]).read_bytes())

admin = KafkaAdminClient(bootstrap_servers=os.environ["KAFKA"])
admin.create_topics([NewTopic("payments", num_partitions=4, replication_factor=1)])
admin.close()
