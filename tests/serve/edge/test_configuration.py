"""The text of the configuration."""

from __future__ import annotations

from dataclasses import replace

from anabranch.serve.edge.configuration import EdgeOptions, configuration, without_servers
from anabranch.serve.edge.listener import EdgeAddress

ADDRESS = EdgeAddress("127.0.0.1", 8000, 9000)
OPTIONS = EdgeOptions(threads=2, slots=3)


def test_two_texts_for_the_same_task_differ_in_servers_only() -> None:
    servers = {("g1", "s1"): "unix@/r/1", ("gateway", "s2"): "10.0.0.1:80"}
    text = configuration(OPTIONS, ADDRESS, servers)
    assert "backend g1 from routers\n    server s1 unix@/r/1\nbackend g2 from routers\n" in text
    assert "backend gateway from all\n    server s2 10.0.0.1:80\nbackend front from all\n" in text
    assert without_servers(text) == configuration(OPTIONS, ADDRESS, {})


def test_another_task_is_another_text() -> None:
    texts = {
        configuration(options, address, {})
        for options in (OPTIONS, EdgeOptions(threads=1, slots=3), EdgeOptions(threads=2, slots=4))
        for address in (
            ADDRESS,
            replace(ADDRESS, host="0.0.0.0"),
            replace(ADDRESS, http=8001),
            replace(ADDRESS, grpc=9001),
        )
    }
    assert len(texts) == 12
