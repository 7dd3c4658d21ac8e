from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.contract import CannotLoad
from anabranch.monitors.table import Unfit
from anabranch.monitors.user_monitors import Own
from anabranch.specs.models import Monitor
from tests.graph.raisers import ERRORS

ROOT = Path(__file__).parents[1] / "graph"

CODE = """
class Mean:
    def __init__(self, limit: float = 1.0) -> None:
        self.limit = limit

    def score(self, x):
        return x.mean() / self.limit


class Fitted:
    def fit(self, x):
        if not len(x):
            raise ValueError("nothing to go by")
        self.usual = x.mean()

    def score(self, x):
        return {"score": abs(x.mean() - self.usual), "outliers": x > 5}


class Returns:
    def __init__(self, what) -> None:
        self.what = what

    def score(self, x):
        return self.what


class Nothing:
    pass


class Later:
    async def score(self, x):
        return 0
"""


@pytest.fixture
def own(tmp_path: Path) -> Any:
    (tmp_path / "c.py").write_text(CODE)

    def make(name: str, reference: bool = False, names: Any = None, **args: Any) -> Own:
        data = {"component": f"c.py:{name}", "args": args}
        spec = Monitor.model_validate(data | ({"reference": {"first": 5}} if reference else {}))
        return Own(spec, tmp_path, names or {"net.out": "x"})

    return make


def test_a_number_is_a_score(own: Any) -> None:
    found = own("Mean", limit=2.0).look({"net.out": np.array([1.0, 5.0])}, 1)
    assert (found.score, found.outliers, found.features) == (1.5, 0, ())


def test_a_reference_comes_first_and_outliers_may_be_a_mask(own: Any) -> None:
    one = own("Fitted", reference=True)
    one.fit({"net.out": np.array([1.0, 1.0])})
    found = one.look({"net.out": np.array([1.0, 9.0])}, 1)
    assert (found.score, found.outliers) == (4.0, 1)
    with pytest.raises(Unfit, match=r"fit\(\) raised ValueError: nothing to go by"):
        one.fit({"net.out": np.array([])})


@pytest.mark.parametrize(
    "what", [None, "high", [1, 2], {"outliers": 1}, {"score": 1, "outliers": 7}, {"score": "nan"}]
)
def test_what_is_no_score_is_named(own: Any, what: Any) -> None:
    with pytest.raises(Unfit, match=r"score\(\) returned"):
        own("Returns", what=what).look({"net.out": np.zeros(3)}, 1)


@pytest.mark.parametrize(
    ("name", "reference", "message"),
    [
        ("Mean", True, r"has no fit\(\), which would take the `reference`"),
        ("Fitted", False, r"has fit\(\), which takes a `reference`, and none is given"),
        ("Nothing", False, r"has no method score\(\), which a monitor needs"),
        ("Later", False, r"Later.score\(\) must be a plain method"),
        ("Men", False, "Men"),
    ],
)
def test_a_class_that_does_not_fit_is_named(
    own: Any, name: str, reference: bool, message: str
) -> None:
    with pytest.raises(CannotLoad, match=message):
        own(name, reference)


def test_its_parameters_are_what_is_watched(own: Any) -> None:
    with pytest.raises(CannotLoad, match=r"Mean.score\(\) needs 'x', which watches does not give"):
        own("Mean", names={"y": "y"})
    with pytest.raises(CannotLoad, match=r"gives 'limt', which the constructor of c.py:Mean does"):
        own("Mean", limt=1)


@given(kind=st.sampled_from(sorted(ERRORS)))
def test_whatever_a_monitor_raises_is_its_error(kind: str) -> None:
    """Also what would end the only thread of the monitors, or their process."""
    data = {"component": "raisers.py:Scores", "args": {"kind": kind}}
    one = Own(Monitor.model_validate(data), ROOT, {"net.out": "x"})
    with ThreadPoolExecutor(1) as thread:
        looked = thread.submit(one.look, {"net.out": np.array([1.0])}, 1)
        with pytest.raises(Unfit, match=ERRORS[kind].__name__):
            looked.result()
