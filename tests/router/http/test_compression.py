"""gzip and deflate in both directions."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.errors import HttpReply, UnsupportedBody
from anabranch.router.http.compression import (
    MAX_MEMBERS,
    CutBody,
    ExtendedBody,
    Unpacking,
    accepted,
    coding_of,
    packed,
)
from anabranch.router.http.graph_app import GraphApp
from anabranch.router.limits import RequestLimits
from tests.router.conftest import BODY, Serving, make_arms

LIMIT = 2**20


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without zlib's header": ("deflate", raw_deflate),
}


def unpack(body: bytes, coding: str = "gzip", limit: int = LIMIT) -> bytes:
    found = Unpacking(body, coding, limit)
    while not found.go_on(2**16):
        pass
    return bytes(found.whole)


@given(st.binary(max_size=20_000), st.integers(1, 40), st.sampled_from(sorted(PACKERS)))
def test_a_body_comes_out_as_it_went_in(data: bytes, times: int, how: str) -> None:
    coding, pack = PACKERS[how]
    assert unpack(pack(data * times), coding) == data * times


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=5))
def test_a_gzip_body_may_have_several_members(parts: list[bytes]) -> None:
    assert unpack(b"".join(map(gzip.compress, parts))) == b"".join(parts)


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate"]))
def test_garbage_is_invalid(data: bytes, coding: str) -> None:
    try:
        unpack(data, coding)
    except InvalidRequest as error:
        assert f"the body is not {coding}: " in str(error)


@pytest.mark.parametrize("how", sorted(PACKERS))
def test_a_body_that_is_cut_short_is_invalid(how: str) -> None:
    coding, pack = PACKERS[how]
    whole = pack(bytes(range(256)) * 4)
    for end in range(len(whole)):
        with pytest.raises(CutBody, match=f"the body is not {coding}: it is cut short"):
            unpack(whole[:end], coding)


@pytest.mark.parametrize("how", sorted(PACKERS))
def test_more_after_the_end_is_invalid(how: str) -> None:
    coding, pack = PACKERS[how]
    with pytest.raises(InvalidRequest if coding == "gzip" else ExtendedBody):
        unpack(pack(b"x") + b"more", coding)


def test_a_body_that_needs_a_dictionary_is_invalid() -> None:
    packer = zlib.compressobj(zdict=b"word")
    with pytest.raises(InvalidRequest, match="the body is not deflate: it needs a dictionary"):
        unpack(packer.compress(b"word") + packer.flush(), "deflate")


def test_members_are_bounded() -> None:
    with pytest.raises(ExtendedBody, match="gzip: there is more after its end"):
        unpack(gzip.compress(b"") * (MAX_MEMBERS + 1))
    assert unpack(gzip.compress(b"a") * MAX_MEMBERS) == b"a" * MAX_MEMBERS


@pytest.mark.parametrize("how", sorted(PACKERS))
def test_a_body_may_unpack_to_the_limit_and_no_further(how: str) -> None:
    coding, pack = PACKERS[how]
    assert len(unpack(pack(b"x" * LIMIT), coding)) == LIMIT
    with pytest.raises(TooLarge, match=f"more than the limit of {LIMIT} bytes"):
        unpack(pack(b"x" * (LIMIT + 1)), coding)


def test_a_bomb_takes_no_more_memory_than_its_limit() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(256)) + packer.flush()
    tracemalloc.start()
    with pytest.raises(TooLarge):
        unpack(bomb, limit=8 * LIMIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * LIMIT


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", None),
        ("identity", None),
        (" GZip ", "gzip"),
        ("x-gzip", "gzip"),
        ("deflate", "deflate"),
    ],
)
def test_codings_of_requests(header: str, coding: str | None) -> None:
    assert coding_of(header) == coding


@pytest.mark.parametrize("header", ["br", "gzip, gzip", "gzip, identity", "gzip;q=1", "*"])
def test_other_codings_are_not_supported(header: str) -> None:
    with pytest.raises(UnsupportedBody, match="use one of gzip, deflate"):
        coding_of(header)


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate, br", "gzip"),
        ("deflate, gzip", "gzip"),
        ("gzip;q=0.5, deflate;q=0.8", "deflate"),
        ("GZIP ; Q=0.5", "gzip"),
        ("x-gzip", "gzip"),
        ("br", None),
        ("*", "gzip"),
        ("gzip;q=0, *", "deflate"),
        ("gzip;q=0, deflate;q=0.0", None),
        ("*;q=0", None),
        ("identity", None),
        ("identity, gzip;q=0.5", None),
        ("gzip, identity;q=0", "gzip"),
        ("gzip, identity;q=0.5", "gzip"),
        ("gzip;q=2", None),
        ("gzip;q=", None),
        ("gz ip", None),
        (",,gzip,", "gzip"),
    ],
)
def test_the_coding_of_an_answer(header: str, coding: str | None) -> None:
    assert accepted(header) == coding


@given(st.text(max_size=60))
def test_any_header_is_read(header: str) -> None:
    assert accepted(header) in (None, "gzip", "deflate")


def pack(body: bytes, accept: str = "gzip") -> HttpReply:
    return asyncio.run(packed(HttpReply(200, body), accept))


def test_small_answers_and_those_that_do_not_shrink_are_sent_as_they_are() -> None:
    assert pack(b"x" * 1024) == HttpReply(200, b"x" * 1024)
    noise = np.random.default_rng(1).bytes(200_000)
    for body in (noise, noise[:2000]):
        assert pack(body) == HttpReply(200, body, ((b"vary", b"accept-encoding"),))
    assert pack(b"x" * 2000, "br").headers == ((b"vary", b"accept-encoding"),)
    done = HttpReply(200, b"x" * 2000, ((b"content-encoding", b"gzip"),))
    assert asyncio.run(packed(done, "gzip")) is done


@pytest.mark.parametrize("size", [1025, 65_537, 2**20])
def test_other_answers_are_packed(size: int) -> None:
    reply = pack(b"x" * size)
    assert gzip.decompress(reply.body) == b"x" * size
    assert dict(reply.headers)[b"content-encoding"] == b"gzip"
    assert len(reply.body) < size / 10


@pytest.fixture(scope="module")
def url(server: Serving) -> Iterator[str]:
    with server(GraphApp(make_arms(limits=RequestLimits(max_body=LIMIT)))) as address:
        yield f"{address}/v2/models/demo"


def post(url: str, body: bytes, coding: str, **headers: str) -> httpx.Response:
    sent = {"content-encoding": coding, **headers}
    return httpx.post(f"{url}/infer", content=body, headers=sent)


@pytest.mark.parametrize("how", sorted(PACKERS))
def test_requests_over_http(url: str, how: str) -> None:
    coding, pack = PACKERS[how]
    reply = post(url, pack(json.dumps(BODY).encode()), coding)
    assert reply.json()["outputs"][0]["data"] == [2.0, 4.0, 6.0, 8.0]
    assert "content-encoding" not in reply.headers


@pytest.mark.parametrize(
    ("body", "coding", "status"),
    [
        (gzip.compress(b" " * (LIMIT + 1)), "gzip", 413),
        (b"no", "gzip", 400),
        (b"", "deflate", 400),
        (b"no", "br", 415),
    ],
)
def test_errors_over_http(url: str, body: bytes, coding: str, status: int) -> None:
    reply = post(url, body, coding)
    assert reply.status_code == status
    assert list(reply.json()) == ["error"]
    assert reply.headers.get("accept-encoding") == ("gzip, deflate" if status == 415 else None)


def test_two_codings_in_two_headers_are_two(url: str) -> None:
    body = gzip.compress(gzip.compress(json.dumps(BODY).encode()))
    headers = [("content-encoding", "gzip"), ("content-encoding", "gzip")]
    assert httpx.post(f"{url}/infer", content=body, headers=headers).status_code == 415


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("binary", [False, True])
def test_answers_over_http(url: str, coding: str, binary: bool) -> None:
    """The length of the binary extension's JSON is that before packing."""
    data = np.zeros((5000, 2), np.float32)
    tensor: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [5000, 2]}
    body = {"inputs": [{**tensor, "data": data.ravel().tolist()}]}
    body["outputs"] = [{"name": "doubled", "parameters": {"binary_data": binary}}]
    reply = httpx.post(f"{url}/infer", json=body, headers={"accept-encoding": coding})
    assert reply.headers["content-encoding"] == coding
    assert int(reply.headers["content-length"]) < 2000
    length = int(reply.headers.get("inference-header-content-length", len(reply.content)))
    found = json.loads(reply.content[:length])["outputs"][0]
    values = found["data"] if not binary else np.frombuffer(reply.content[length:], np.float32)
    assert np.array_equal(np.reshape(values, (5000, 2)), data)


@pytest.mark.parametrize("how", sorted(PACKERS))
def test_a_packed_request_may_be_binary(url: str, how: str) -> None:
    coding, pack = PACKERS[how]
    parameters = {"binary_data_size": 16}
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 2], "parameters": parameters}
    head = json.dumps({"inputs": [tensor]}).encode()
    body = pack(head + np.arange(4, dtype="<f4").tobytes())
    sent = {"inference-header-content-length": str(len(head))}
    reply = post(url, body, coding, **sent)
    assert reply.status_code == 200, reply.text
