"""Images in plain JSON and in forms: PNG or JPEG as tensors of UINT8, [height, width, channels].

An image is a text in Base64, a data URL, or ``{"b64": "…"}``; in forms it may be a file. It gets
the channels that its input declares: 1 is grey, 3 are RGB, and 4 are RGBA. Sizes are known before
pixels take memory, so limits act first. EXIF's orientation is not applied.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from anabranch.components.extras import require
from anabranch.errors import InvalidRequest, TooLarge
from anabranch.router.inference.contract import Array, TensorMetadata
from anabranch.router.limits import RequestLimits
from anabranch.router.oip.base64_values import Encoded, from_base64
from anabranch.router.oip.envelope import Header
from anabranch.router.oip.json_body import parsed
from anabranch.router.oip.tensor_header import check_together

if TYPE_CHECKING:
    from PIL import Image

RANK = 3
"""Dimensions of an image; an input with one more takes rows of images."""
FORMATS = ("PNG", "JPEG")
MOST_IMAGES = 10_000
"""Most images of an input: before its pixels are decoded, each takes more memory than its file."""
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_OF_EIGHT_BITS = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
"""Modes of Pillow whose channels have 8 bits at most."""
_IS_ENCODED = re.compile(rb'[\[ \t\r\n]*["{]').match
_decode_list = msgspec.json.Decoder(list[str | Encoded]).decode


class PlainImages(NamedTuple):
    """The images of an input, all of one size, their pixels not decoded yet."""

    header: Header
    images: Sequence[Image.Image]
    shape: Sequence[int]
    """Sizes of the tensor."""

    def array(self, limits: RequestLimits) -> Array:
        """Return the pixels; raise InvalidRequest, and TooLarge before they take memory."""
        check_together([self.header], limits)
        mode = _MODES[self.shape[-1]]
        found = np.empty((len(self.images), *self.shape[-RANK:]), np.uint8)
        for row, image in zip(found, self.images, strict=True):
            row[:] = _pixels(self.header.name, image, mode).reshape(row.shape)
        return found.reshape(self.shape)


def are_images(tensor: TensorMetadata, raw: bytes) -> bool:
    """Return whether a value in JSON holds images in Base64, and not numbers."""
    return tensor.content == "image" and _IS_ENCODED(raw) is not None


def read_images(tensor: TensorMetadata, raw: bytes) -> PlainImages:
    """Read one image, or a list of images; raise InvalidRequest or TooLarge."""
    name = tensor.name
    is_list = raw.lstrip().startswith(b"[")
    listed = raw if is_list else b"[%b]" % raw
    given = parsed(_decode_list, listed, f"input {name!r}")
    try:
        files = [from_base64(one if isinstance(one, str) else one.b64) for one in given]
    except ValueError as error:
        raise InvalidRequest(f"input {name!r}: {error}") from None
    return images_in(tensor, files, is_list)


def images_in(tensor: TensorMetadata, files: Sequence[bytes], is_list: bool) -> PlainImages:
    """Open the content of image files, of which the tensor has a row each if it ``is_list``.

    Raise InvalidRequest for other files and for images of several sizes, TooLarge for huge ones.
    """
    if len(files) > MOST_IMAGES:
        raise TooLarge(
            f"input {tensor.name!r} has {len(files)} images, at most {MOST_IMAGES} may be in one "
            "request; send several, or a tensor"
        )
    images = [_opened(tensor.name, one) for one in files]
    sizes = {(image.height, image.width) for image in images}
    if len(sizes) > 1:
        (one, other, *_) = sorted(sizes)
        raise InvalidRequest(
            f"input {tensor.name!r}: the images of a request have one size, these are "
            f"{one[1]}x{one[0]} and {other[1]}x{other[0]} pixels"
        )
    size = [*(sizes.pop() if sizes else _declared(tensor)), tensor.shape[-1]]
    ones = [1] * (len(tensor.shape) - RANK)
    shape = [len(images), *size] if is_list else [*ones, *size]
    return PlainImages(Header(tensor.name, "UINT8", shape), images, shape)


def _declared(tensor: TensorMetadata) -> list[int]:
    """Return height and width of images of which there are none."""
    return [max(size, 0) for size in tensor.shape[-RANK:-1]]


def _opened(name: str, data: bytes) -> Image.Image:
    """Read the head of an image file."""
    pillow = require("PIL.Image", "images")
    try:
        image: Image.Image = pillow.open(BytesIO(data), formats=FORMATS)
    except pillow.DecompressionBombError as error:
        raise TooLarge(f"input {name!r}: {error}") from None
    except Exception as error:  # Pillow has no common class for what malformed files raise.
        raise _no_image(name, error) from None
    if image.mode not in _OF_EIGHT_BITS:
        raise InvalidRequest(
            f"input {name!r}: the image has more than 8 bits a channel ({image.mode}); send 8 bits"
        )
    return image


def _pixels(name: str, image: Image.Image, mode: str) -> Array:
    try:
        return np.asarray(image.convert(mode))
    except Exception as error:  # as above
        raise _no_image(name, error) from None


def _no_image(name: str, error: Exception) -> InvalidRequest:
    known = " or ".join(FORMATS)
    said = str(error).partition(" <")[0][:200]
    return InvalidRequest(f"input {name!r}: the image is no {known} that can be read ({said})")
