"""The request log to Kafka: an event a message, whose key is the event's id.

Source: ``bindings/kafka-protocol-binding.md`` of https://github.com/cloudevents/spec, 3.3, the
structured content mode. A message arrived if its delivery report says so; one that no report came
for in time is given up, though the broker may have it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from anabranch.components.extras import require
from anabranch.errors import Unavailable

MAX_EVENT = 1_000_000 - 2048
"""Brokers take messages of 1,000,000 bytes, key and headers included, unless told otherwise."""
TIMEOUT_S = 5.0
"""Longest time for one delivery; then its events are given up."""
_CONTENT_TYPE = ("content-type", b"application/cloudevents+json; charset=UTF-8")
_POLL_S = 0.05


class _Named(msgspec.Struct):
    id: str


_decode_id = msgspec.json.Decoder(_Named).decode


class KafkaSink:
    """Sends to the topic that a URL names, ``kafka://host:port/topic``; a ``Sink``.

    ``properties`` of librdkafka go before the sink's own, such as how to log in.
    """

    most = MAX_EVENT

    def __init__(
        self, url: str, properties: Mapping[str, str] | None = None, timeout: float = TIMEOUT_S
    ) -> None:
        place = urlsplit(url)
        self._topic = place.path.strip("/")
        self._timeout = timeout
        self._arrived = self._settled = 0
        self._error = ""
        library = require("confluent_kafka", "kafka")
        self._producer: Any = library.Producer(
            {
                "client.id": "anabranch",
                "compression.type": "lz4",
                "linger.ms": 20,
                "log_level": 2,  # the outlet says what is wrong, once a minute
                **(properties or {}),
                "bootstrap.servers": place.netloc,
                "message.timeout.ms": int(timeout * 1000),
                "queue.buffering.max.kbytes": 16 * 2**10,
            }
        )

    def send(self, events: Iterable[bytes]) -> int:
        """Produce events and wait for their reports; Unavailable if none arrived."""
        deadline = time.monotonic() + self._timeout
        self._arrived = self._settled = given = 0
        self._error = ""
        for event in events:
            given += self._produce(event, deadline)
        self._producer.flush(max(0.0, deadline - time.monotonic()))
        if self._settled < given:
            self._producer.purge()
            self._producer.flush(self._timeout)
        if not self._arrived:
            raise Unavailable(self._error or f"no broker took it within {self._timeout:g} s")
        return self._arrived

    def close(self) -> None:
        """Nothing waits here between two calls, so nothing is lost."""
        self._producer.purge()

    def _produce(self, event: bytes, deadline: float) -> bool:
        """Give an event to the library; False if its queue stays full, or takes no such event."""
        key = _decode_id(event).id
        while True:
            try:
                self._producer.produce(
                    self._topic, event, key, on_delivery=self._report, headers=[_CONTENT_TYPE]
                )
            except BufferError:
                if time.monotonic() > deadline:
                    return False
                self._producer.poll(_POLL_S)
            except Exception as error:  # the library's own, such as for a message too large
                self._error = str(error)
                return False
            else:
                self._producer.poll(0)
                return True

    def _report(self, error: Any, message: Any) -> None:
        self._settled += 1
        if error is None:
            self._arrived += 1
        else:
            self._error = str(error)
