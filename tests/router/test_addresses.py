"""Addresses as nodes see them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from anabranch.router.addresses import Addresses, Reach, RouterAddress

NODES = st.sampled_from(["a1", "b2", "c3"])
NEAR, FAR = "unix@/tmp/s/1.sock", "10.0.0.1:4000"
REACHES = st.builds(Reach, NODES, st.sampled_from(["", NEAR]), st.sampled_from(["", FAR]))


@given(reach=REACHES, node=NODES)
def test_no_node_but_its_own_is_told_the_unix_socket_of_a_process_that_has_a_port(
    reach: Reach, node: str
) -> None:
    seen = reach.seen_from(node)
    assert seen in (reach.near, reach.far)
    assert bool(seen) == bool(reach.near or reach.far)
    if reach.near and reach.far:
        assert seen == (NEAR if node == reach.node else FAR)


def test_routers_are_seen_by_protocol_and_those_without_an_address_are_left_out() -> None:
    router = RouterAddress(Reach("a1", "unix:/s/g", "h:1"), Reach("a1", "unix@/s/h", "h:2"))
    nowhere = RouterAddress(Reach("a1"), Reach("a1"))
    known = Addresses(1, {"digits": (router, nowhere), "new": ()})
    assert known.grpc("a1") == {"digits": ("unix:/s/g",), "new": ()}
    assert known.grpc("b2") == {"digits": ("h:1",), "new": ()}
    assert known.http("a1") == {"digits": ("unix@/s/h",), "new": ()}
    assert known.http("b2") == {"digits": ("h:2",), "new": ()}
