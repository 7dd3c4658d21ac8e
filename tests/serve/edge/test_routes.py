"""Commands that lead from any state to the wanted one, on a model of HAProxy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.errors import EngineError
from anabranch.serve.edge.routes import (
    FRONT,
    FRONT_BACKEND,
    GATEWAY,
    GATEWAY_BACKEND,
    EdgeRoute,
    EdgeState,
    backend_of_entry,
    check_routes,
    plan_routes,
    server_name,
)

SLOTS = 4
SHARED = {GATEWAY: GATEWAY_BACKEND, FRONT: FRONT_BACKEND}
MAP = "routes.map"
GRAPHS = ["a", "b", "c", "d", "a/b", GATEWAY, FRONT]
ADDRESSES = ["unix@/r/1", "unix@/r/2", "unix@/r/3", "10.0.0.1:80"]
Routes = Mapping[str, EdgeRoute]

routes = st.dictionaries(
    st.sampled_from(GRAPHS),
    st.builds(
        EdgeRoute,
        st.lists(st.sampled_from(ADDRESSES), unique=True, max_size=3).map(tuple),
        st.booleans(),
        st.floats(0.001, 1e9),
    ),
)


@dataclass
class Model:
    """HAProxy, as far as the commands go; it refuses what HAProxy refuses."""

    entries: dict[str, str] = field(default_factory=dict)
    servers: dict[tuple[str, str], bool] = field(default_factory=dict)

    def run(self, command: str) -> None:
        match command.split():
            case ["add", "server", server, address, *keywords]:
                assert keywords == (["proto", "h2"] if server.startswith("front/") else [])
                backend, name = server.split("/")
                assert name == server_name(address)
                assert (backend, name) not in self.servers
                self.servers[backend, name] = False
            case ["set", "server", server, "state", state]:
                backend, name = server.split("/")
                assert (backend, name) in self.servers
                self.servers[backend, name] = state == "ready"
            case ["add", "map", _, graph, entry]:
                assert graph not in self.entries
                self.entries[graph] = entry
            case ["set", "map", _, graph, entry]:
                assert graph in self.entries
                self.entries[graph] = entry
            case ["del", "map", _, graph]:
                del self.entries[graph]
            case other:
                raise AssertionError(other)

    def state(self) -> EdgeState:
        return EdgeState(dict(self.entries), dict(self.servers))

    def ready(self, backend: str) -> set[str]:
        return {name for (one, name), ready in self.servers.items() if one == backend and ready}

    def meaning(self) -> dict[str, tuple[set[str], str]]:
        """Servers that get a graph's requests, and what its entry says beside the backend."""
        found = {
            graph: (self.ready(backend_of_entry(entry)), entry.partition(":")[2])
            for graph, entry in self.entries.items()
        }
        return {**found, **{name: (self.ready(backend), "") for name, backend in SHARED.items()}}


def apply(model: Model, wanted: Routes, removable: bool) -> None:
    """Apply routes, with a check after each command that nobody's requests lose their servers."""
    plan = plan_routes(model.state(), wanted, SLOTS, MAP)
    lasting = {graph for graph in model.entries if graph in wanted and wanted[graph].addresses}
    for command in plan.commands:
        model.run(command)
        for graph, (servers, _) in model.meaning().items():
            if graph not in SHARED:
                assert servers, f"{graph} has no server after {command}"
        assert lasting <= model.entries.keys()
        backends = [backend_of_entry(entry) for entry in model.entries.values()]
        assert len(set(backends)) == len(backends)
    if removable:
        for server in plan.leaving:
            assert not model.servers.pop(server)


def names(route: EdgeRoute) -> set[str]:
    return {server_name(address) for address in route.addresses}


@given(st.lists(st.tuples(routes, st.booleans()), min_size=1, max_size=6))
def test_any_sequence_ends_where_the_last_routes_alone_end(
    sequence: list[tuple[Routes, bool]],
) -> None:
    model = Model()
    for wanted, removable in sequence:
        apply(model, wanted, removable)
    last = sequence[-1][0]
    for _ in range(3):
        apply(model, last, removable=True)
    fresh = Model()
    apply(fresh, last, removable=True)
    found, expected = model.meaning(), fresh.meaning()
    assert len(found) == len(expected)
    for name in SHARED:
        assert found[name] == (names(last.get(name, EdgeRoute((), False))), "")
    for graph in found.keys() - SHARED.keys():
        patience = min(last[graph].longest + 1, 24 * 86_400) * 1000
        repeats = "retry" if last[graph].idempotent else "once"
        assert found[graph] == (names(last[graph]), f"{patience:.0f}:{repeats}")
    assert all(model.servers.values())
    assert len(model.servers) == sum(len(servers) for servers, _ in found.values())
    assert plan_routes(model.state(), last, SLOTS, MAP).commands == []


def test_a_graph_beyond_the_slots_waits_until_a_slot_is_empty() -> None:
    model = Model()
    five = {graph: EdgeRoute(("unix@/r/1",), False) for graph in "abcde"}
    apply(model, five, True)
    assert set(model.entries) == set("abcd")
    four = {graph: five[graph] for graph in "bcde"}
    plan = plan_routes(model.state(), four, SLOTS, MAP)
    assert plan.unplaced == ("e",)
    assert plan.draining
    apply(model, four, True)
    assert plan_routes(model.state(), four, SLOTS, MAP).unplaced == ("e",)
    apply(model, four, True)
    apply(model, four, True)
    assert set(model.entries) == set("bcde")


def test_a_server_that_returns_while_it_drains_is_opened_again() -> None:
    model = Model()
    both = {"a": EdgeRoute(("unix@/r/1", "unix@/r/2"), True)}
    apply(model, both, False)
    apply(model, {"a": EdgeRoute(("unix@/r/2",), True)}, False)
    plan = plan_routes(model.state(), both, SLOTS, MAP)
    assert plan.commands == [f"set server g0/{server_name('unix@/r/1')} state ready"]


@pytest.mark.parametrize(
    "name", ["", "a b", "a;b", "a\nb", "_gateway2", "a\\b", "a/b/c", "a/", "/a", "é"]
)
def test_a_name_that_no_command_can_hold_is_refused(name: str) -> None:
    with pytest.raises(EngineError, match="name"):
        check_routes({name: EdgeRoute((), False)})


@pytest.mark.parametrize(
    "address", ["", "unix@r", "unix@/a b", "host", "host:", "a:1;x", "a:1 check", "unix@/a\n"]
)
def test_an_address_that_no_command_can_hold_is_refused(address: str) -> None:
    with pytest.raises(EngineError, match="address"):
        check_routes({"a": EdgeRoute((address,), False)})


def test_good_names_and_addresses() -> None:
    addresses = ("unix@/tmp/a-b_c.d/1.sock", "10.0.0.1:80", "[::1]:80", "node-1.local:8000")
    check_routes(
        {
            "a-1/b": EdgeRoute(addresses, True),
            "a": EdgeRoute((), True),
            GATEWAY: EdgeRoute((), False),
        }
    )


def test_only_routers_that_are_reached_by_tcp_have_the_keywords_for_other_nodes() -> None:
    wanted = {"a": EdgeRoute(("unix@/r/1", "10.0.0.1:80"), True)}
    plan = plan_routes(EdgeState({}, {}), wanted, SLOTS, MAP, " ssl verify required")
    added = [command for command in plan.commands if command.startswith("add server")]
    assert [one.split()[3:] for one in added] == [
        ["unix@/r/1"],
        ["10.0.0.1:80", "ssl", "verify", "required"],
    ]
