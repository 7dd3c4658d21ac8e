"""Texts of ``config.pbtxt``: what can be read, and where everything stands."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.errors import SpecError
from anabranch.importers.triton.config_text import parse_config
from anabranch.specs.loader import MAX_BYTES
from tests.examples import examples

TEXT = """# a comment { with a brace
name: "a" ;
input [
  { name: "x" data_type: TYPE_FP32, dims: [ 1, 2 ] },
  { name: "y"
    dims: [ 3 ] }
]
input { name: 'z' "z" dims: 4 dims: 5 }
max_batch_size: 0x10
ensemble_scheduling { step [ { model_name: "m"  input_map { key: "a" value: "}" }
 input_map: < key: "c"
 value: "d" > }, {
 model_name: "z" } ]
}
"""


def test_values_and_positions() -> None:
    config = parse_config(TEXT.encode(), "f", "folder")
    message = config.message
    assert [one.name for one in message.input] == ["x", "y", "zz"]
    assert [list(one.dims) for one in message.input] == [[1, 2], [3], [4, 5]]
    assert (message.name, message.max_batch_size) == ("a", 16)
    places = {
        ("name",): (2, 1),
        ("input",): (3, 1),
        ("input", 0): (4, 3),
        ("input", 0, "data_type"): (4, 15),
        ("input", 1, "dims"): (6, 5),
        ("input", 2): (8, 1),
        ("input", 2, "dims"): (8, 23),
        ("max_batch_size",): (9, 1),
        ("ensemble_scheduling", "step", 0, "input_map", 1): (11, 2),
        ("ensemble_scheduling", "step", 1): (12, 18),
        ("ensemble_scheduling", "step", 1, "model_name"): (13, 2),
    }
    for path, place in places.items():
        found = config.manifest.position(path)
        assert (found.line, found.column) == place, path


def test_a_configuration_without_a_name_has_that_of_its_folder() -> None:
    assert parse_config(b"", "f", "net").message.name == "net"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\nnam: 1", "f:2:1: Triton knows no field 'nam' here (did you mean 'name'? available: "),
        ("input { dim: 3 }", "f:1:9: Triton knows no field 'dim' here (did you mean 'dims'? "),
        ('name: "a', "f:1:7: is no configuration of Triton: "),
        ("max_batch_size: x", "f:1:17: is no configuration of Triton: 'max_batch_size: x': "),
        ("max_batch_size: ${rows}", "; fill in ${rows} and all other placeholders of the template"),
        ("max_batch_size: {{rows}}", "; fill in {{rows}} and all other placeholders"),
        ("dynamic_batching {} sequence_batching {}", 'another member of oneof "scheduling"'),
        ("input { data_type: TYPE_FP3 }", "has no value named TYPE_FP3"),
        ("input {" * 100, "f:1:224: is nested deeper than the limit of 32 levels"),
        ("x" * (MAX_BYTES + 1), f"f: has more than the limit of {MAX_BYTES} bytes"),
    ],
)
def test_mistakes_have_their_place(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_config(text.encode(), "f", "net")
    assert said in str(caught.value)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(SpecError, match="is not UTF-8"):
        parse_config(b'name: "\xff"', "f", "net")


tokens = st.sampled_from(
    [*"{}[]<>:,;#\n ", '"x"', "'", "1", "-1.5e3", "name", "input", "dims", "step", "key", "value",
     "ensemble_scheduling", "input_map", "TYPE_FP32", "data_type", "é"]
)  # fmt: skip


@settings(max_examples=examples(400))
@given(st.lists(tokens, max_size=40).map("".join) | st.text(max_size=60) | st.binary(max_size=60))
def test_any_text_is_read_or_refused_with_a_message(text: str | bytes) -> None:
    content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        config = parse_config(content, "f", "net")
    except SpecError as error:
        assert str(error).startswith("f")
    else:
        for descriptor, _ in config.message.ListFields():
            assert config.manifest.position((descriptor.name,)).line >= 1
