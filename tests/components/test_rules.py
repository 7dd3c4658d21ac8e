from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.rules import Condition, mistakes, prepared

REQUEST = {"id": "abc", "headers": {"x-tier": "gold"}, "parameters": {"limit": 3}}
VARIABLES = {"request": REQUEST, "inputs": {"x": [[0.5, 2.0]], "name": ["ann"]}}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("request.headers['x-tier'] == 'gold'", True),
        ("request.headers['x-other'] == 'gold'", False),
        ("!(request.headers['x-other'] == 'gold')", False),
        ("'x-other' in request.headers", False),
        ("has(request.headers.other) || request.id == 'abc'", True),
        ("request.parameters.limit > 2", True),
        ("request.parameters.other > 2", False),
        ("inputs.x[0][1] > 1.0 && inputs.x.size() == 1", True),
        ("inputs.x[0].exists(v, v > 1.0)", True),
        ("inputs.x[7][0] > 1.0", False),
        ("inputs.name[0].startsWith('a') && request.id.matches('^a')", True),
    ],
)
def test_conditions(text, holds):
    assert mistakes(text, ["x", "name"]) == []
    assert Condition(text).holds(VARIABLES) is holds


DOCUMENTS = {
    "a": ['{"user": {"age": 31, "name": "ann", "left": null}, "tags": [{"x": 2}]}'],
    "raw": [b'{"user": 1}'],
    "no": ["{"],
    "x": [1.5],
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("json(inputs.a[0]).user.age > 30", True),
        ("json(inputs.a[0]).user.name == 'ann' && has(json(inputs.a[0]).tags)", True),
        ("json(inputs.a[0]).tags.exists(tag, tag.x == 2)", True),
        ("has(json(inputs.a[0]).user.left)", True),
        ("has(json(inputs.a[0]).user.right)", False),
        ("json(inputs.a[0]).user.name > 30", False),
        ("json(inputs.a[0]).user.age.year > 30", False),
        ("json(inputs.raw[0]).user == 1", True),
        ("json(inputs.no[0]) == null", True),
        ("json(inputs.no[0]).user == 1", False),
        ("gjson_exists(inputs.a[0], 'user.left')", True),
        ("gjson_exists(inputs.a[0], 'user.right')", False),
        ('gjson_exists(inputs.a[0], "tags.#(x==2)")', True),
        ("!gjson_exists(inputs.a[0], 'tags.#(x==3)')", True),
        ("gjson_exists(inputs.raw[0], 'user')", True),
        ("gjson_exists(inputs.no[0], 'user')", False),
    ],
)
def test_conditions_on_documents(text, holds):
    assert mistakes(text, list(DOCUMENTS)) == []
    assert Condition(text).holds(prepared(request=REQUEST, inputs=DOCUMENTS)) is holds


def test_a_number_is_no_document():
    variables = prepared(request=REQUEST, inputs=DOCUMENTS)
    for text in ("json(inputs.x[0]) == 1", "gjson_exists(inputs.x[0], 'a')"):
        with pytest.raises(ValueError, match="failed: "):
            Condition(text).holds(variables)


def test_only_conditions_over_inputs_read_them():
    assert Condition("inputs.x[0][0] > 1.0").reads_inputs
    assert not Condition("request.id == 'inputs.x'").reads_inputs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("request.id", "the rule 'request.id' gave 'abc', not true or false"),
        ("1 / 0 == 1", "failed: division by zero"),
        ("inputs.x[0][1] + 1 > 2.0", "failed: Unsupported operation: float \\+ int"),
        ("request.id.matches('(')", "failed: .*not a valid regex"),
    ],
)
def test_failures_quote_the_rule(text, message):
    with pytest.raises(ValueError, match=message):
        Condition(text).holds(VARIABLES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reqest.id == 'a'", "unknown name 'reqest' (did you mean 'request'?"),
        ("inputs.x.all(v, v > w)", "unknown name 'w'"),
        ("random() > 0.5", "unknown function 'random'"),
        ("request.header['a'] == 'b'", "request has no 'header' (did you mean 'headers'?"),
        ("inputs.y[0] > 1", "inputs has no 'y' (available: name, x)"),
        ("request.headers['X-Tier'] == 'a'", "write 'x-tier', not 'X-Tier'"),
        ("request.id == ", "the expression cannot be parsed, at character 15: Syntax error"),
        ("gjson_exists(inputs.x[0], '@dig:a.@dig:b')", "'@dig:a.@dig:b': a GJSON path may have"),
        ("gjson_exist(inputs.x[0], 'a')", "unknown function 'gjson_exist'"),
        ("[" * 2000, "the expression cannot be parsed"),
    ],
)
def test_mistakes_are_found_without_running(text, message):
    assert any(message in found for found in mistakes(text, ["x", "name"]))
    assert all(len(found) < 400 and "\n" not in found for found in mistakes(text, []))


def test_conditions_of_the_traffic_see_no_tensors():
    assert mistakes("request.id == 'inputs.x'", None) == []
    (found,) = mistakes("inputs.x[0] > 1.0", None)
    assert found.startswith("'inputs' is not available here")
    (found,) = mistakes("input.x[0] > 1.0", None)
    assert found.startswith("unknown name 'input'")


def test_variables_are_prepared_once_for_many_conditions():
    variables = prepared(**VARIABLES)
    for text in ("request.id == 'abc'", "inputs.x[0][1] > 1.0", "request.parameters.limit == 3"):
        assert Condition(text).holds(variables) is True
    assert Condition("request.parameters.other == 3").holds(variables) is False


@pytest.mark.parametrize("value", ["\ud800", object(), {1: object()}])
def test_what_the_language_cannot_hold(value):
    with pytest.raises(ValueError, match="the request cannot be read by rules: "):
        prepared(request={"parameters": {"a": value}})


def test_text_that_looks_like_a_field_is_no_mistake():
    assert mistakes("request.id == 'inputs.nothing'", []) == []


@given(st.text("request.inputs'\"()[]{}!&|=<>?:,ü\0\n1e", max_size=200))
def test_any_text_gives_mistakes_or_none(text):
    for found in mistakes(text, ["x"]):
        assert "\n" not in found


@pytest.mark.parametrize("text", ["!" * 4090 + "true", "(" * 2000 + "1" + ")" * 2000, "-" * 4090])
def test_deep_expressions_do_not_kill_the_process(text):
    code = "import sys; from anabranch.components.rules import mistakes; mistakes(sys.argv[1], [])"
    assert subprocess.run([sys.executable, "-c", code, text], check=False).returncode == 0
