from __future__ import annotations

import pytest

from anabranch.errors import EngineError
from anabranch.telemetry.log_settings import LogBounds


def test_bounds_have_defaults_and_are_read() -> None:
    assert LogBounds.from_env({}) == LogBounds(16 * 2**20, 2**30, 200.0, 10_000)
    env = {
        "ANABRANCH_LOG_SIZE": "100000",
        "ANABRANCH_LOG_TOTAL": "1e6",
        "ANABRANCH_LOG_RATE": "1.5",
        "ANABRANCH_LOG_FILES": "7",
    }
    assert LogBounds.from_env(env) == LogBounds(100_000, 1_000_000, 1.5, 7)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ANABRANCH_LOG_SIZE", "a size of at least 64KiB: .* or a number of bytes"),
        ("ANABRANCH_LOG_TOTAL", "a size of at least 64KiB: .* or a number of bytes"),
        ("ANABRANCH_LOG_RATE", "a number of at least 1"),
        ("ANABRANCH_LOG_FILES", "a number of at least 1"),
    ],
)
@pytest.mark.parametrize("value", ["much", "0", "-1", "nan", "inf"])
def test_what_is_no_bound_is_named(name: str, expected: str, value: str) -> None:
    with pytest.raises(EngineError, match=f"^{name}='{value}' is not {expected}$"):
        LogBounds.from_env({name: value})
