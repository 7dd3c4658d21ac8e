"""Mistakes of a lookup that show without a store."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from anabranch.errors import SpecError
from anabranch.graph.compile.loading import load_data
from tests.components.features.conftest import DEFAULTS, OUTPUTS, lookup_document

REDIS = {"store": "redis://cache:6379/0", "key": "user:{user_id}"}
SQL = {"store": "sqlite:///features.db", "table": "users"}


def problems(args: dict[str, Any], **node: Any) -> list[str]:
    with pytest.raises(SpecError) as raised:
        load_data(lookup_document(args, **node))
    return [str(problem).removeprefix("spec.nodes.profile") for problem in raised.value.problems]


@pytest.mark.parametrize(
    ("args", "texts"),
    [
        (
            SQL | {"store": "redis://:secret@cache/0"},
            [".args.store: a URL in a spec holds"],
        ),
        (SQL | {"store": "redis:///?password=secret"}, [".args.store: a URL in a spec holds no"]),
        (
            SQL | {"store": "memcached://cache"},
            [".args.store: the scheme 'memcached' is no"],
        ),
        (SQL | {"store": "features.db"}, [".args.store: the scheme 'features.db' is no feature"]),
        (SQL | {"store": "http://[::1"}, [".args.store: Invalid IPv6 URL"]),
        (SQL | {"store": "env:URL"}, [".args.store: 'URL' is no variable of the node's `secrets`"]),
        (SQL | {"key": "{user_id}"}, [".args.key: SQL takes no 'key' (it takes table, timestamp)"]),
        (REDIS | {"key": "user"}, [".args.key: the key has no {user_id}"]),
        (REDIS | {"key": None}, [".args.store: Redis needs the argument 'key'"]),
        (
            REDIS | {"token": "T"},
            [".token: 'T' is no variable", ".token: Redis takes no"],
        ),
        ({"store": "sqlite:///a"}, [".args.store: SQL needs the argument 'table'"]),
        ({"store": "feast://repo", "table": "t"}, [".args.table: Feast takes no 'table'"]),
        (SQL | {"max_age": "5s", "max_stale": "1s"}, [".args.max_stale: is below `max_age` (5s)"]),
        (SQL | {"max_age": "5"}, [".args.max_age: '5' is not a duration such as 5s"]),
        (SQL | {"max_keys": 0}, [".args.max_keys: must be at least 1"]),
        (
            SQL | {"features": {}},
            [".features: there is no feature", "outputs.age: no"],
        ),
        (SQL | {"features": {"age": "age"}}, [".outputs.tier: no feature is called 'tier'"]),
        (SQL | {"defaults": {"aged": 1}}, [".args.defaults.aged: no feature is called 'aged'"]),
        (SQL | {"defaults": {"age": 1.5}}, [".args.defaults.age: 1.5 is no whole number"]),
        (
            SQL | {"missing": "absent", "defaults": {"age": 0}},
            [".missing: output 'tier' needs"],
        ),
        (SQL | {"offline": {"table": "t"}}, [".args.offline: the URL of the `store` of the past"]),
        (
            SQL | {"offline": {"store": "x://", "key": "y"}},
            [".offline.key: unknown; it takes"],
        ),
        (SQL | {"offline": {"store": "x://y"}}, [".args.offline.store: the scheme 'x'"]),
    ],
)
def test_mistakes_are_found_in_the_spec(args: dict[str, Any], texts: list[str]) -> None:
    found = problems(args)
    for text in texts:
        assert any(text in problem for problem in found), found


@pytest.mark.parametrize("shape", [[], [5], [-1, -1], [2, -1]])
def test_outputs_have_rows_and_values_of_one_shape(shape: list[int]) -> None:
    outputs = OUTPUTS | {"age": {"datatype": "INT64", "shape": shape}}
    assert any(".outputs.age.shape: " in one for one in problems(SQL, outputs=outputs))


def test_outputs_need_types() -> None:
    found = problems(SQL, outputs={"age": OUTPUTS["age"]})
    assert any(".outputs: output 'tier' needs a type" in problem for problem in found)


def test_every_input_is_a_part_of_the_key() -> None:
    assert ".quorum: every input is a part of the key" in problems(SQL, quorum=1)


def test_no_mistakes() -> None:
    variables = {"secrets": {"URL": {"env": "URL"}}, "env": {"TOKEN": "x"}}
    more = {"batching": {"max_size": 8}}
    for args in (
        REDIS | {"timestamp": "at", "defaults": DEFAULTS, "ttl": "24h"},
        SQL | {"missing": "fail", "max_age": "5s", "max_stale": "1m", "max_keys": 5},
        {"store": "env:URL"},
        {"store": "https://features/get-online-features", "token": "TOKEN"},
        {"store": "feast://repo/of/features", "offline": {"store": "env:URL"}},
        {"store": "postgresql+psycopg://reader@db:5432/features", "table": "public.users"},
    ):
        load_data(lookup_document(args, **variables, **more))


def test_the_graph_of_the_page_has_no_mistakes() -> None:
    page = (Path(__file__).parents[3] / "docs" / "features.md").read_text()
    graph, log, offline = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    node = graph["spec"]["nodes"]["profile"]
    node["args"] |= offline["args"]
    node["secrets"]["WAREHOUSE"] = {"env": "WAREHOUSE"}
    head = {"apiVersion": "anabranch/v1", "kind": "InferenceGraph", "metadata": {"name": "shop"}}
    plan = load_data({**head, "spec": {**graph["spec"], **log["spec"]}}).plan
    assert list(plan.recorded) == ["profile.age", "profile.score", "profile.tier"]
