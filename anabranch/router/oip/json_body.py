"""Bodies in JSON, read as one type or refused in words that a client understands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from anabranch.errors import InvalidRequest
from anabranch.router.oip.raw_tensors import Buffer

T = TypeVar("T")


def parsed(
    decode: Callable[[Any], T], data: Buffer | msgspec.Raw, what: str, wrong: str | None = None
) -> T:
    """Return what ``decode``, a decoder's, makes of ``data``, which errors call ``what``.

    InvalidRequest begins with ``wrong``, or else ``what``, where it is JSON but not of the type.
    """
    try:
        return decode(data)
    except msgspec.ValidationError as error:
        raise InvalidRequest(f"{wrong or what}: {error}") from None
    except RecursionError:
        raise InvalidRequest(f"{what} is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problem = str(error).removeprefix("JSON is malformed: ")
        raise InvalidRequest(f"{what} is not JSON: {problem}") from None
