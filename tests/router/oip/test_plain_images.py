"""Images in plain JSON and in forms as tensors."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.inference.contract import TensorMetadata
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.plain_images import MOST_IMAGES, images_in
from anabranch.router.oip.plain_inputs import read_column, read_value

Image = pytest.importorskip("PIL.Image")

ONE = TensorMetadata("scan", "UINT8", (-1, -1, 3), content="image")
ROWS = TensorMetadata("scans", "UINT8", (-1, -1, -1, 3), content="image")
LIMITS = RequestLimits()
PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


def file_of(pixels: Any, kind: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def read(tensor: TensorMetadata, value: Any, limits: RequestLimits = LIMITS) -> Any:
    return read_value(tensor, json.dumps(value).encode(), limits).array(limits)


PNG = text_of(file_of(PIXELS))


@pytest.mark.parametrize("value", [PNG, f"data:image/png;base64,{PNG}", {"b64": PNG}])
def test_an_image_in_base64(value: Any) -> None:
    found = read(ONE, value)
    assert found.dtype == np.uint8
    assert found.tolist() == PIXELS.tolist()
    assert read(ROWS, value).tolist() == [PIXELS.tolist()]


def test_a_list_of_images_has_a_row_each() -> None:
    other = text_of(file_of(255 - PIXELS))
    found = read(ROWS, [PNG, {"b64": other}])
    assert found.tolist() == [PIXELS.tolist(), (255 - PIXELS).tolist()]
    column = read_column(ROWS, json.dumps([PNG, other]).encode(), LIMITS)
    assert column.array(LIMITS).tolist() == found.tolist()


def test_numbers_are_pixels_too() -> None:
    assert read(ONE, PIXELS.tolist()).tolist() == PIXELS.tolist()


def test_no_images_have_the_sizes_that_are_declared() -> None:
    tensor = TensorMetadata("s", "UINT8", (-1, 5, -1, 4), content="image")
    assert images_in(tensor, [], True).array(LIMITS).shape == (0, 5, 0, 4)


def test_a_jpeg_comes_near_its_pixels() -> None:
    flat = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    found = read(ONE, text_of(file_of(flat, "JPEG", quality=95)))
    assert np.abs(found.astype(int) - flat).max() < 8


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_an_image_gets_the_channels_that_its_input_has(channels: int, mode: str) -> None:
    stream = BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(stream, "PNG")
    tensor = TensorMetadata("scan", "UINT8", (-1, -1, channels), content="image")
    assert read(tensor, text_of(stream.getvalue())).shape == (2, 3, channels)


def test_a_grey_image_is_grey_in_each_channel() -> None:
    grey = np.array([[0, 128], [200, 255]], np.uint8)
    found = read(ONE, text_of(file_of(grey)))
    assert found.tolist() == np.stack([grey] * 3, axis=-1).tolist()


GIF = file_of(np.zeros((1, 1), np.uint8), "GIF")
DEEP = file_of(np.zeros((1, 1), np.uint16))
TRUNCATED = file_of(np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8))[:4000]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (text_of(GIF), "input 'scan': the image is no PNG or JPEG that can be read"),
        (text_of(b""), "is no PNG or JPEG"),
        (text_of(TRUNCATED), "is no PNG or JPEG that can be read"),
        (text_of(DEEP), "has more than 8 bits a channel (I;16"),
        ("@", "'@' is not Base64"),
        ({"b64": 1}, "input 'scan'"),
        ({"png": PNG}, "input 'scan'"),
        ([PNG, 1], "input 'scan'"),
        ([[PNG]], "input 'scan'"),
        ([PNG, text_of(file_of(PIXELS[:1]))], "these are 3x1 and 3x2 pixels"),
    ],
)
def test_what_is_no_image_is_refused(value: Any, said: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read(ONE, value)
    assert said in str(raised.value)


def test_the_limits_act_before_pixels_take_memory() -> None:
    huge = text_of(file_of(np.zeros((1000, 1000), np.uint8)))
    with pytest.raises(TooLarge, match="over the limit of 1000 elements"):
        read(ONE, huge, RequestLimits(max_elements=1000))


def test_a_request_has_so_many_images_at_most() -> None:
    """Tiny ones take far more memory than the body."""
    text = f"{MOST_IMAGES + 1} images, at most {MOST_IMAGES}"
    with pytest.raises(TooLarge, match=text):
        images_in(ROWS, [b"not looked at"] * (MOST_IMAGES + 1), True)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_too_large() -> None:
    head = file_of(np.zeros((1, 1), np.uint8))
    wide = bytearray(head)
    wide[16:24] = (60000).to_bytes(4, "big") * 2
    import zlib

    wide[29:33] = zlib.crc32(bytes(wide[12:29])).to_bytes(4, "big")
    with pytest.raises(TooLarge, match="input 'scan'"):
        read(ONE, text_of(bytes(wide)))


@given(st.data())
def test_any_bytes_are_an_image_or_refused(data: st.DataObject) -> None:
    """Files with bytes that were changed, cut or put in between."""
    kind = data.draw(st.sampled_from(["PNG", "JPEG"]))
    whole = bytearray(file_of(PIXELS, kind))
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, len(whole)))
        whole[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    try:
        found = images_in(ONE, [bytes(whole)], False).array(RequestLimits(max_elements=10**5))
    except (InvalidRequest, TooLarge):
        return
    assert found.dtype == np.uint8 and found.shape[2] == 3
