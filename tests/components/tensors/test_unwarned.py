"""Calculations without NumPy's warnings."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest

from anabranch.components.tensors.unwarned import unwarned

HUGE = np.array([3e38], np.float32)


def test_no_result_is_warned_of_within_and_each_is_after() -> None:
    with unwarned(), unwarned():
        assert np.isinf(HUGE * 10).all()
        assert np.isnan(HUGE * 10 - HUGE * 10).all()
        assert np.isinf(HUGE / 0).all()
    with pytest.warns(RuntimeWarning, match="overflow"):
        HUGE * 10


def test_an_error_leaves_it_and_other_threads_are_not_in_it() -> None:
    before, others = np.geterr(), []
    with pytest.raises(ZeroDivisionError), unwarned():
        thread = threading.Thread(target=lambda: others.append(np.geterr()))
        thread.start()
        thread.join()
        assert set(np.geterr().values()) == {"ignore"}
        1 / 0  # noqa: B018
    assert np.geterr() == before
    assert others == [before]


def test_what_was_set_before_holds_again() -> None:
    with np.errstate(over="raise"):
        with unwarned():
            HUGE * 10
        with pytest.raises(FloatingPointError):
            HUGE * 10
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        HUGE * 10
    assert len(found) == 1
