from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from anabranch.components import registry
from anabranch.components.binding import bind
from anabranch.components.contract import Context
from anabranch.errors import StatusError


@pytest.fixture
def router(node):
    def make(**fields):
        return bind("n", node(type="router", inputs={}, **fields) if "inputs" not in fields
                    else node(type="router", **fields), Path())  # fmt: skip

    return make


def test_weighted_draws_in_proportion_and_repeats_with_a_seed(router):
    fields = {"strategy": "weighted", "routes": {"a": 90, "b": 10, "never": 0}, "args": {"seed": 7}}
    first, second = router(**fields), router(**fields)
    draws = [first.call() for _ in range(5000)]
    assert draws == [second.call() for _ in range(5000)]
    counts = Counter(draws)
    assert counts.keys() == {"a", "b"}
    assert 400 < counts["b"] < 600


def test_weighted_over_a_list_is_even(router):
    bound = router(strategy="weighted", routes=["a", "b"], args={"seed": 1})
    counts = Counter(bound.call() for _ in range(2000))
    assert 900 < counts["a"] < 1100


STICKY = {"strategy": "weighted", "routes": {"a": 1, "b": 1}}
USERS = [f"user-{index}" for index in range(200)]


@pytest.mark.parametrize(
    ("sticky", "context"),
    [
        ({"header": "X-User"}, lambda user: Context(headers={"x-user": user})),
        ({"cookie": "uid"}, lambda user: Context(headers={"cookie": f"a=b; uid={user}"})),
        ({"parameter": "user"}, lambda user: Context(parameters={"user": user})),
    ],
)
def test_a_sticky_caller_keeps_its_route_in_every_replica(router, sticky, context):
    first, second = router(**STICKY, sticky=sticky), router(**STICKY, sticky=sticky)
    routes = [first.call(context=context(user)) for user in USERS]
    assert routes == [second.call(context=context(user)) for user in USERS]
    assert 60 < routes.count("a") < 140


def test_the_key_may_be_an_input_and_is_then_the_same_as_anywhere_else(router):
    by_header = router(**STICKY, sticky={"header": "x-user"})
    by_input = router(**STICKY, sticky={"input": "user"}, inputs={"user": "u"})
    for user in range(50):
        route = by_header.call(context=Context(headers={"x-user": str(user)}))
        for tensor in (np.array([user]), np.array([str(user)], object)):
            assert by_input.call(context=Context(), user=tensor) == route


def test_a_request_without_a_key_is_drawn(router):
    bound = router(**STICKY, sticky={"header": "x-user"}, args={"seed": 1})
    assert {bound.call(context=Context()) for _ in range(50)} == {"a", "b"}
    by_input = router(**STICKY, sticky={"input": "user"}, inputs={"user": "u"})
    empty = np.array([""], object)
    assert {by_input.call(context=Context(), user=empty) for _ in range(50)} == {"a", "b"}


def test_a_route_of_weight_0_gets_no_sticky_caller(router):
    fields = STICKY | {"routes": {"a": 1, "never": 0}}
    bound = router(**fields, sticky={"header": "x-user"})
    assert {bound.call(context=Context(headers={"x-user": one})) for one in USERS} == {"a"}


def test_rules_take_the_first_that_holds_else_otherwise(router):
    bound = router(
        strategy="rules",
        inputs={"x": "x"},
        rules=[
            {"when": "request.headers['x-tier'] == 'gold'", "to": "a"},
            {"when": "inputs.x[0] > 1.0", "to": "b"},
        ],
        otherwise="c",
    )
    assert bound.wants_context
    gold = Context(headers={"x-tier": "gold"})
    assert bound.call(x=np.array([9.0]), context=gold) == "a"
    assert bound.call(x=np.array([9.0]), context=Context()) == "b"
    assert bound.call(x=np.array([0.0]), context=Context()) == "c"
    assert bound.call(x=np.array([]), context=Context()) == "c"


def test_no_rule_and_no_otherwise_is_an_error(router):
    bound = router(strategy="rules", rules=[{"when": "false", "to": "a"}])
    with pytest.raises(StatusError, match="no rule holds, and there is no 'otherwise'") as raised:
        bound.call(context=Context())
    assert raised.value.status == 404
    bound = router(strategy="rules", rules=[{"when": "false", "to": "a"}], args={"status": 422})
    with pytest.raises(StatusError) as raised:
        bound.call(context=Context())
    assert raised.value.status == 422


@pytest.mark.parametrize(
    ("fields", "path", "message"),
    [
        ({"strategy": "weighted"}, ("routes",), "needs routes"),
        ({"strategy": "weighted", "routes": {"a": 0}}, ("routes",), "must be above 0"),
        (
            {"strategy": "weighted", "routes": {"a": 1e308, "b": 1e308}},
            ("routes",),
            "above 0 and finite, not that of a: 1e+308, b: 1e+308",
        ),
        ({"strategy": "weighted", "routes": ["a"], "otherwise": "b"}, ("otherwise",), "belongs to"),
        ({"strategy": "rules"}, ("rules",), "needs rules"),
        (
            {
                "strategy": "rules",
                "rules": [{"when": "true", "to": "a"}],
                "args": {"status": 200},
            },
            ("args", "status"),
            "must be at least 400, not 200",
        ),
        (
            {
                "strategy": "rules",
                "rules": [{"when": "true", "to": "a"}],
                "otherwise": "b",
                "args": {"status": 400},
            },
            ("args", "status"),
            "has no meaning beside `otherwise`",
        ),
        (
            {"strategy": "rules", "routes": {"a": 1}, "rules": [{"when": "true", "to": "a"}]},
            ("routes",),
            "weights belong to the strategy 'weighted'",
        ),
        (
            {"strategy": "rules", "rules": [{"when": "true", "to": "a"}, {"when": "(", "to": "a"}]},
            ("rules", 1, "when"),
            "cannot be parsed",
        ),
        (
            {**STICKY, "sticky": {"input": "usr"}, "inputs": {"user": "u"}},
            ("sticky", "input"),
            "the node has no such input (did you mean 'user'?",
        ),
        (
            {"strategy": "thompson", "routes": ["a", "b"], "sticky": {"header": "x"}},
            ("sticky",),
            "sticky belongs to the strategy 'weighted', not 'thompson'",
        ),
        (
            {
                "strategy": "rules",
                "rules": [{"when": "true", "to": "a"}],
                "sticky": {"header": "x"},
            },
            ("sticky",),
            "sticky belongs to the strategy 'weighted', not 'rules'",
        ),
        ({"strategy": "wieghted", "routes": ["a"]}, ("strategy",), "did you mean 'weighted'?"),
    ],
)
def test_mistakes(node, fields, path, message):
    found = dict(registry.problems(node(type="router", **fields)))
    assert message in found[path]
