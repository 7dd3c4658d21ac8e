from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.names import GRAPH_NAME
from anabranch.router.http.doors.places import graph_at, openai_base

TAILS = ["", "/models", "/models/demo", "/chat/completions", "/completions", "/embeddings", "/"]


@pytest.mark.parametrize(
    ("path", "graph"),
    [
        ("/v1/models/demo", "demo"),
        ("/v1/models/demo:predict", "demo"),
        ("/v1/models/", None),
        ("/seldon/default/demo/api/v1.0/predictions", "demo"),
        ("/seldon/team/demo/api/v1.0/predictions", "team/demo"),
        ("/seldon/demo/api/v1.0/predictions", "demo"),
        ("/seldon/demo/api/v0.1/feedback", "demo"),
        ("/seldon/team/api/api/v1.0/predictions", "team/api"),
        ("/seldon/team/api/ready", "team/api"),
        ("/openai/demo/v1/chat/completions", "demo"),
        ("/openai/team/demo/v1/chat/completions", "team/demo"),
        ("/openai/team/v1/v1/completions", "team/v1"),
        ("/openai/demo/v1", "demo"),
        ("/openai/demo/versions/2/v1/completions", "demo"),
        ("/openai/team/demo/versions/2/v1/completions", "team/demo"),
        ("/openai/demo", None),
        ("/openai/v1/models", None),
        ("/openai/a/b/c/v1/models", None),
        ("/v1/chat/completions", None),
        ("/v2/models/demo", None),
    ],
)
def test_the_graph_in_a_path(path: str, graph: str | None) -> None:
    assert graph_at(path) == graph


@given(st.from_regex(GRAPH_NAME, fullmatch=True), st.sampled_from(TAILS))
def test_every_graph_has_a_base_of_its_own(graph: str, tail: str) -> None:
    assert graph_at(f"{openai_base(graph)}/versions/3/v1{tail}") == graph
    assert graph_at(f"{openai_base(graph)}/v1{tail}") == graph
