"""Which HAProxy the edge runs, and why one cannot run."""

import sys

import pytest

from anabranch.serve.edge.binary import OVERRIDE, haproxy_binary, haproxy_problem

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="HAProxy is for Linux")


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


@linux
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("echo HAProxy version 2.8.0-1; echo +LUA +MATH", None),
        ("echo HAProxy version 10.0.1; echo +LUA +MATH", None),
        ("echo HAProxy version 2.8.0-1; echo -LUA +MATH", "is built without Lua"),
        ("echo HAProxy version 2.6.12-1", "HAProxy version 2.6.12-1; the edge needs 2.8 or newer"),
        ("echo something else", "is no HAProxy"),
        ("exit 3", "exits with 3"),
    ],
)
def test_a_binary_is_tried_before_it_is_used(tmp_path, text, problem):
    binary = script(tmp_path / "haproxy", text)
    found = haproxy_problem(binary)
    assert found is None if problem is None else problem in str(found)


@linux
def test_what_keeps_haproxy_from_running_is_said(tmp_path):
    assert "no haproxy binary" in str(haproxy_problem(None))
    assert "does not run" in str(haproxy_problem(str(tmp_path / "missing")))


def test_the_override_comes_first_and_path_last(tmp_path):
    assert haproxy_binary({OVERRIDE: "/somewhere/haproxy"}) == "/somewhere/haproxy"
    assert haproxy_binary({"PATH": str(tmp_path)}) in {None, haproxy_binary({})}
