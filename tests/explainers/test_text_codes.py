from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import InvalidRequest
from anabranch.explainers.text_codes import TextCodes


@given(st.lists(st.text(), min_size=1, unique=True), st.data())
def test_codes_stand_for_texts(texts, data):
    codes = TextCodes("kind", texts)
    column = np.array(data.draw(st.lists(st.sampled_from(texts))), dtype=object)
    encoded = codes.encode(column)
    assert encoded.dtype == np.float64
    assert encoded.tolist() == [texts.index(text) for text in column]
    assert codes.decode(encoded).tolist() == column.tolist()


@pytest.mark.parametrize("value", ["bb", b"bb", b"\xff", "", 1])
def test_other_texts_are_the_client_s_mistake(value):
    column = np.array(["a", value], dtype=object)
    with pytest.raises(InvalidRequest, match=r"input 'kind' is .*available: a, b\); args.categ"):
        TextCodes("kind", ["a", "b"]).encode(column)
    assert TextCodes("kind", ["a", "b"]).encode(np.array([b"b"], dtype=object)).tolist() == [1]
