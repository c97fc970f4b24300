"""The fixtures give what they promise: real servers, and databases that do not know each other."""

import psycopg
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from paidonce.app.settings import Settings


def test_a_database_is_migrated_and_fresh(database: str) -> None:
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM payments").fetchone() == (0,)
        connection.execute("INSERT INTO installation (name, value) VALUES ('seen', 'once')")


test_another_database_is_fresh_too = test_a_database_is_migrated_and_fresh


def test_kafka_serves_the_topic_that_somebody_makes(settings: Settings) -> None:
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka)
    try:
        assert settings.topic not in admin.list_topics()
        admin.create_topics([NewTopic(settings.topic, settings.topic_partitions, 1)])
        assert settings.topic in admin.list_topics()
    finally:
        admin.close()
