"""Malformed messages over a real connection give the caller's own errors, and nothing else.

``ANABRANCH_FUZZ`` is the number of messages; ``tests/project/test_long_fuzz.py`` takes 10000.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
from collections import Counter
from typing import Any

import grpc
import numpy as np
from grpc import StatusCode

from anabranch.router.grpc.messages import StreamResponse, path
from anabranch.router.limits import RequestLimits
from tests.router.conftest import make_arms
from tests.router.grpc.conftest import FakeControl, Stub, fronted, infer_request, router

MESSAGES = int(os.environ.get("ANABRANCH_FUZZ", "300"))
LIMITS = RequestLimits(max_body=2**20)
ALLOWED = {StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND, StatusCode.RESOURCE_EXHAUSTED}
FORBIDDEN = ("Traceback", ".py", "/home", "/usr", "/tmp", "site-packages", "Error(")
DATATYPES = ("FP32", "BOOL", "BYTES", "INT8", "UINT64", "FP16", "BF16", "fp32", "", "FP128")
SIZES = (0, 1, 2, 3, -1, 2**31, 2**62, 2**63 - 1, -(2**63))


def mangled(random: random.Random) -> bytes:
    """A request with something wrong, in its fields or in its bytes."""
    message = infer_request(raw=random.random() < 0.5, id=random.choice(["", "a", "é"]))
    random.choice([shape, datatype, contents, parameter, name, nothing])(message, random)
    data = bytearray(message.SerializeToString())
    if random.random() < 0.7:
        random.choice([flip, cut, insert, repeat, nothing])(data, random)
    return bytes(data)


def shape(message: Any, random: random.Random) -> None:
    message.inputs[0].shape[:] = random.choices(SIZES, k=random.randint(0, 20))


def datatype(message: Any, random: random.Random) -> None:
    message.inputs[0].datatype = random.choice(DATATYPES)


def contents(message: Any, random: random.Random) -> None:
    tensor = message.inputs[0].contents
    random.choice(
        [
            lambda: tensor.int_contents.extend([2**31 - 1, -1]),
            lambda: tensor.fp32_contents.append(float("nan")),
            lambda: tensor.bytes_contents.extend([b"\xff"] * random.randint(0, 9)),
            lambda: message.raw_input_contents.append(random.randbytes(random.randint(0, 20))),
            lambda: message.raw_input_contents.append(struct.pack("<I", 2**32 - 1)),
        ]
    )()


def parameter(message: Any, random: random.Random) -> None:
    where = random.choice([message, message.inputs[0], message.outputs.add(name="doubled")])
    found = where.parameters[random.choice(["timeout", "priority", "", "x" * 3000])]
    random.choice(
        [
            lambda: setattr(found, "int64_param", random.choice(SIZES)),
            lambda: setattr(found, "string_param", "\0../../etc/passwd"),
            lambda: setattr(found, "double_param", float("nan")),
            lambda: setattr(found, "bool_param", True),
            lambda: None,
        ]
    )()


def name(message: Any, random: random.Random) -> None:
    text = random.choice(["", "nobody", "../demo", "x" * 5000, "\u2028", "demo\n", "é"])
    random.choice(
        [
            lambda: setattr(message, "model_name", text),
            lambda: setattr(message, "model_version", text),
            lambda: setattr(message, "id", text),
            lambda: setattr(message.inputs[0], "name", text),
            lambda: message.outputs.add(name=text),
        ]
    )()


def nothing(message: Any, random: random.Random) -> None:
    """Leave it as it is."""


def flip(data: bytearray, random: random.Random) -> None:
    for _ in range(random.randint(1, 4)):
        data[random.randrange(len(data))] = random.randrange(256)


def cut(data: bytearray, random: random.Random) -> None:
    del data[random.randrange(len(data)) :]


def insert(data: bytearray, random: random.Random) -> None:
    at = random.randrange(len(data) + 1)
    data[at:at] = random.randbytes(random.randint(1, 12))


def repeat(data: bytearray, random: random.Random) -> None:
    data.extend(random.choice([b"\x2a\x00", b"\x3a\x00", b"\x22\x00", bytes(data)]) * 5000)


def judge(text: str) -> None:
    assert len(text.encode()) <= 2048
    assert not any(word in text for word in FORBIDDEN), text


async def ask(stub: Stub, message: bytes) -> StatusCode:
    try:
        await stub.raw("ModelInfer", message)
    except grpc.aio.AioRpcError as error:
        judge(str(error.details()))
        assert error.code() in ALLOWED, (error, message)
        return error.code()
    return StatusCode.OK


async def ask_all(stub: Stub, messages: list[bytes]) -> Counter[StatusCode]:
    """Ask over eight calls at a time; then ask for something sound."""
    left = iter(messages)
    codes: Counter[StatusCode] = Counter()

    async def one() -> None:
        for message in left:
            codes[await ask(stub, message)] += 1

    await asyncio.gather(*(one() for _ in range(8)))
    sound = await stub("ModelInfer", infer_request())
    assert np.frombuffer(sound.raw_output_contents[0], np.float32).tolist() == [2, 4, 6, 8]
    return codes


def test_malformed_messages_are_the_callers_mistakes() -> None:
    async def main() -> Counter[StatusCode]:
        chance = random.Random(4)
        messages = [mangled(chance) for _ in range(MESSAGES)]
        control = FakeControl()
        async with router(make_arms(limits=LIMITS)) as one, fronted(control, LIMITS) as stub:
            await control.know(demo=(one.far,))
            return await ask_all(stub, messages)

    codes = asyncio.run(main())
    assert codes.total() == MESSAGES
    assert codes[StatusCode.INVALID_ARGUMENT] > MESSAGES / 3, codes


def test_a_stream_of_malformed_messages_goes_on_to_its_end() -> None:
    async def main() -> None:
        chance = random.Random(5)
        made = (mangled(chance) for _ in range(MESSAGES // 4))
        # One over the limit ends its stream: that is how gRPC works.
        messages = [message for message in made if len(message) < LIMITS.max_body]
        messages.append(infer_request(id="end").SerializeToString())
        control = FakeControl()
        async with router(make_arms(limits=LIMITS)) as one, fronted(control, LIMITS) as stub:
            await control.know(demo=(one.far,))
            call = stub.channel.stream_stream(path("ModelStreamInfer"))
            found = [StreamResponse.FromString(data) async for data in call(messages)]
        assert len(found) == len(messages)
        for answer in found:
            judge(answer.error_message)
        assert found[-1].infer_response.id == "end" and not found[-1].error_message

    asyncio.run(main())
