from __future__ import annotations

import json

import numpy as np

from anabranch.explainers.json_values import MOST, plain


def test_what_libraries_return_becomes_json():
    found = plain(
        {
            "array": np.array([[1.5, np.nan], [np.inf, -1]]),
            "number": np.float32(0.5),
            "bytes": b"a\xff",
            3: (1, None, True, float("nan")),
            "texts": np.array(["a", "b"]),
        }
    )
    assert json.loads(json.dumps(found, allow_nan=False)) == {
        "array": [[1.5, None], [None, -1]],
        "number": 0.5,
        "bytes": "a�",
        "3": [1, None, True, None],
        "texts": ["a", "b"],
    }


def test_what_is_large_or_unknown_is_named():
    assert plain(np.zeros((MOST + 1, 1))) == {"omitted": f"float64[{MOST + 1}, 1]"}
    assert len(plain(np.zeros(MOST))) == MOST
    assert plain([len, np.zeros]) == [{"omitted": "builtin_function_or_method"}] * 2
