"""Logs to Kafka, against the brokers that librdkafka brings for tests."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

kafka = pytest.importorskip("confluent_kafka")

from anabranch.errors import Unavailable  # noqa: E402
from anabranch.router.request_log.kafka import MAX_EVENT, KafkaSink  # noqa: E402

TOPIC = "requests"


@pytest.fixture
def broker() -> Iterator[str]:
    """Address of a broker that runs for as long as the producer that brings it."""
    owner = kafka.Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1})
    (one,) = owner.list_topics(timeout=30).brokers.values()
    yield f"{one.host}:{one.port}"
    owner.flush(1)


def received(broker: str, count: int) -> list[Any]:
    consumer = kafka.Consumer(
        {"bootstrap.servers": broker, "group.id": "test", "auto.offset.reset": "earliest"}
    )
    try:
        consumer.subscribe([TOPIC])
        found: list[Any] = []
        for _ in range(600):
            found += consumer.consume(count, 0.1)
            if len(found) >= count:
                break
        assert [message.error() for message in found] == [None] * len(found)
        return found
    finally:
        consumer.close()


def test_events_are_messages(broker: str, event: Any) -> None:
    sink = KafkaSink(f"kafka://{broker}/{TOPIC}", timeout=30)
    assert sink.send(map(event, range(100))) == 100
    assert sink.send([event(100)]) == 1
    sink.close()
    found = received(broker, 101)
    assert sorted(int(message.key()) for message in found) == list(range(101))
    assert all(json.loads(message.value())["id"] == message.key().decode() for message in found)
    assert found[0].headers() == [("content-type", b"application/cloudevents+json; charset=UTF-8")]


def test_the_largest_event_fits(broker: str, event: Any) -> None:
    text = event(0)
    sink = KafkaSink(f"kafka://{broker}/{TOPIC}", timeout=30)
    padded = text[:-1] + b" " * (MAX_EVENT - len(text)) + b"}"
    assert len(padded) == MAX_EVENT
    assert sink.send([padded]) == 1
    sink.close()


def test_an_event_that_is_too_large_is_one_that_failed(broker: str, event: Any) -> None:
    text = event(0)
    huge = text[:-1] + b" " * 2**20 + b"}"
    sink = KafkaSink(f"kafka://{broker}/{TOPIC}", timeout=30)
    assert sink.send([event(1), huge, event(2)]) == 2
    with pytest.raises(Unavailable, match=r"(?i)size"):
        sink.send([huge])
    sink.close()


def test_no_broker(event: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    sink = KafkaSink(f"kafka://127.0.0.1:{port}/{TOPIC}", timeout=0.5)
    with pytest.raises(Unavailable):
        sink.send(map(event, range(10)))
    sink.close()


def test_a_broker_that_says_nothing(event: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sink = KafkaSink(f"kafka://127.0.0.1:{silent.getsockname()[1]}/{TOPIC}", timeout=0.5)
        with pytest.raises(Unavailable):
            sink.send(map(event, range(10)))
        sink.close()


def test_properties_go_to_the_library(broker: str, event: Any) -> None:
    sink = KafkaSink(f"kafka://{broker}/{TOPIC}", {"compression.type": "gzip"}, timeout=30)
    assert sink.send([event(0)]) == 1
    sink.close()
    with pytest.raises(kafka.KafkaException, match=r"no\.such\.property"):
        KafkaSink(f"kafka://{broker}/{TOPIC}", {"no.such.property": "1"})
