"""Every endpoint of an engine, asked as everybody: the table in the docs is what happens."""

from __future__ import annotations

import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import ray.serve  # noqa: F401

from tests.project.access_table import PAGE, Row, rows, text

pytestmark = pytest.mark.slow

ASKED_BY_EVERYBODY = {
    "GET /",  # which leads browsers to the console
    "GET /v2",
    "GET /v2/health/live",
    "GET /v2/health/ready",
    "POST /v2/repository/index",  # which holds only graphs that the caller may know of
    "POST /console/login",
    "POST /console/logout",
    "GET /console",
    "GET /console/",
    "GET /console/<file>",  # the page's, alike for all
    "GET /console/api/access/me",
    "GET /control/v1/access/me",
    "ServerLive",
    "ServerReady",
    "ServerMetadata",
    "RepositoryIndex",
}
"""Whatever else is asked takes a role. A new endpoint for everybody is a decision to write here."""


@pytest.fixture(scope="module")
def table() -> list[Row]:
    return rows()


def test_the_docs_have_every_endpoint_with_those_who_may_ask_it(table: list[Row]) -> None:
    """``make reference`` writes the table anew; look at what has changed."""
    assert text(table) in PAGE.read_text()


def test_only_these_are_for_everybody(table: list[Row]) -> None:
    assert {row.endpoint.name for row in table if row.nobody} == ASKED_BY_EVERYBODY


def test_nobody_reaches_the_graphs_of_others(table: list[Row]) -> None:
    about_graphs = [row for row in table if row.endpoint.is_of_graph]
    assert len(about_graphs) > 60
    for row in about_graphs:
        assert row.other == (), row.endpoint
        assert row.own == row.every != (), row.endpoint


def test_a_role_for_all_graphs_allows_no_less(table: list[Row]) -> None:
    for row in table:
        assert {*row.own, *row.other} <= {*row.every}, row.endpoint
        assert "admin" in row.every, row.endpoint
