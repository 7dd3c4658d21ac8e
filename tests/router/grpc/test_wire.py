from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import InvalidRequest, RequestError, TooLarge
from anabranch.router.grpc import wire
from anabranch.router.grpc.messages import InferRequest, InferResponse

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(texts, texts, st.lists(st.binary(max_size=300), max_size=5))
def test_fields_are_those_that_were_written(name: str, id: str, raw: list[bytes]) -> None:
    message = InferRequest(model_name=name, id=id, raw_input_contents=raw).SerializeToString()
    found = [(field.number, message[field.value : field.end]) for field in wire.fields(message)]
    texts = [(number, text.encode()) for number, text in ((1, name), (3, id)) if text]
    assert found == [*texts, *((7, data) for data in raw)]
    assert wire.text(message, 1) == name
    assert wire.text(message, 3) == id
    whole = b"".join(message[field.start : field.end] for field in wire.fields(message))
    assert whole == message


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_what_is_written_here_is_a_field(raw: list[bytes]) -> None:
    message = b"".join(wire.head(6, len(data)) + data for data in raw)
    assert list(InferResponse.FromString(message).raw_output_contents) == raw


@given(st.binary(max_size=60))
def test_noise_is_no_message_or_reads_as_protobuf_reads_it(noise: bytes) -> None:
    try:
        name = wire.text(noise, 1)
    except RequestError:
        return
    try:
        assert InferRequest.FromString(noise).model_name == name
    except ValueError:
        pass  # It looks into fields, too.
    except Exception as error:
        assert type(error).__name__ == "DecodeError"


@pytest.mark.parametrize(
    "message",
    [
        b"\x0a",  # no length
        b"\x0a\x05abcd",  # cut short
        b"\x0a" + b"\xff" * 9 + b"\x01",  # longer than anything
        b"\x08" + b"\xff" * 11,  # a number without end
        b"\x0d\x01",  # four bytes that are one
        b"\x0b",  # a group
        b"\x0f",  # no kind
        b"\x02\x00",  # field 0
        b"\x0a\x02\xc3\x28",  # no UTF-8
    ],
)
def test_what_is_malformed_is_refused(message: bytes) -> None:
    with pytest.raises(InvalidRequest):
        wire.text(message, 1)


def test_of_several_the_last_counts_wherever_it_stands() -> None:
    first: Any = InferRequest(model_name="a", id="x").SerializeToString()
    assert wire.text(first + InferRequest(model_name="b").SerializeToString(), 1) == "b"
    assert wire.text(InferRequest(id="x").SerializeToString(), 1) == ""


def test_fields_are_counted_before_they_take_memory() -> None:
    with pytest.raises(TooLarge, match="more than 4096 fields"):
        wire.text(b"\x2a\x00" * 2**20, 1)
