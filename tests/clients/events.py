"""Reads the topics as any Kafka consumer would and decodes them with the CloudEvents SDK."""

import time

from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka
from cloudevents.core.formats.base import Format
from confluent_kafka import Consumer


class Opaque(Format):
    """The data of our events are protobuf: the SDK shall hand them through as they are."""

    def read(self, event_factory, data):
        raise ValueError("the events are expected in binary mode")

    def write(self, event):
        raise ValueError("only read here")

    def write_data(self, data, datacontenttype):
        return data

    def read_data(self, body, datacontenttype):
        return body

    def get_content_type(self):
        return "application/protobuf"


def read(broker, topics, enough, limit_s=30):
    """Yields (topic, partition, key, event) from the beginning until `enough(seen)` holds."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": f"foreign-client-{time.time_ns()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe(topics)
    seen, until = [], time.monotonic() + limit_s
    try:
        while not enough(seen):
            if time.monotonic() > until:
                raise AssertionError(f"after {limit_s} s only {[one[3].get_type() for one in seen]} were read")
            message = consumer.poll(0.5)
            if message is None:
                continue
            if message.error():
                raise AssertionError(str(message.error()))
            headers = dict(message.headers() or [])
            event = from_kafka(KafkaMessage(headers=headers, key=message.key(), value=message.value()), Opaque())
            seen.append((message.topic(), message.partition(), message.key().decode(), event, headers))
    finally:
        consumer.close()
    return seen
