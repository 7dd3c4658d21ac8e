from __future__ import annotations

import numpy as np
import pytest

pandas = pytest.importorskip("pandas")
pytest.importorskip("sklearn")

from sklearn.compose import make_column_selector, make_column_transformer  # noqa: E402
from sklearn.feature_extraction.text import CountVectorizer  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import (  # noqa: E402
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)

from anabranch.components.runtimes.fitted_types import fitted_types  # noqa: E402

FRAME = pandas.DataFrame(
    {
        "town": np.array(["Rome", "Bonn", np.nan, "Oslo"], object),
        "floor": [0, 1, 2, 1],
        "area": [10.0, 20, 30, np.nan],
        "new": [True, False, True, False],
    }
)
Y = [0, 1, 0, 1]
FILLED = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())


def told(estimator, frame=FRAME):
    names = list(frame.columns)
    types = fitted_types(estimator.fit(frame, Y), names)
    return {names[index]: str(one) for index, one in types.items()}


@pytest.mark.parametrize("towns", ["town", ["town"], [0], slice(0, 1), [True, False, False, False]])
@pytest.mark.parametrize("numbers", [["floor", "area"], [1, 2], slice(1, 3), slice(-3, -1)])
def test_columns_of_parts(towns, numbers):
    columns = [towns] if isinstance(towns, str) else towns
    parts = make_column_transformer(
        (FILLED, columns), (SimpleImputer(), numbers), (OrdinalEncoder(), ["new"])
    )
    expected = {"town": "BYTES", "floor": "numbers", "area": "numbers", "new": "numbers"}
    assert told(make_pipeline("passthrough", parts, LogisticRegression())) == expected


def test_a_selection_may_be_empty_or_one_number():
    parts = make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include=complex)),
        (CountVectorizer(), 0),
        (SimpleImputer(), ["area"]),
    )
    assert told(parts, FRAME.fillna({"town": "Rome"})) == {"area": "numbers"}


def test_what_is_not_told_is_left_out():
    odd = make_column_transformer(
        (OneHotEncoder(), ["town"]), (FunctionTransformer(), ["floor"]), remainder="drop"
    )
    assert told(odd) == {"town": "BYTES"}
    assert told(make_pipeline(FunctionTransformer(), StandardScaler()), FRAME[["floor"]]) == {}
    mixed = pandas.DataFrame({"code": np.array(["a", "b", "a", "b"], object), "year": [1, 2, 1, 2]})
    assert told(OneHotEncoder(), mixed) == {"code": "BYTES", "year": "numbers"}


@pytest.mark.parametrize("estimator", [StandardScaler(), LogisticRegression()])
def test_estimators_of_numbers(estimator):
    assert told(estimator, FRAME[["floor"]]) == {"floor": "numbers"}
