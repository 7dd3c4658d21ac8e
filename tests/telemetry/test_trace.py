"""W3C's headers, and which requests are sampled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from anabranch.telemetry.sampling import UNTRACED, Sampler
from anabranch.telemetry.trace import Trace, incoming

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SHOWN = "rojo=1,anabranch=show"


def test_a_sampled_parent_is_carried_on() -> None:
    found = incoming(f"00-{TRACE}-{SPAN}-01", "rojo=00f067aa0ba902b7, congo=t61rcWkgMzE")
    assert found is not None and found.sampled
    assert found.trace == Trace(TRACE, SPAN, "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")
    assert found.trace.traceparent == f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("ff", True)])
def test_the_flag_says_whether_it_is_sampled(flags: str, sampled: bool) -> None:
    found = incoming(f"00-{TRACE}-{SPAN}-{flags}")
    assert found is not None and found.sampled is sampled


def test_later_versions_may_have_more_fields() -> None:
    assert incoming(f"cc-{TRACE}-{SPAN}-01-more") is not None
    assert incoming(f"cc-{TRACE}-{SPAN}-01.more") is None


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "nonsense",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01",
    ],
)
def test_what_is_not_valid_begins_a_new_trace(traceparent: str) -> None:
    assert incoming(traceparent, SHOWN) is None
    drawn = Sampler(1.0, exported=True).continued(traceparent, SHOWN)
    assert drawn is not None and drawn.trace_id != TRACE and drawn.state == ""


@pytest.mark.parametrize("state", ["no member", "a=b" * 400, "A=1", "a=\x7f"])
def test_a_tracestate_that_is_not_valid_is_left_out(state: str) -> None:
    found = incoming(f"00-{TRACE}-{SPAN}-01", state)
    assert found is not None and found.trace.state == ""


@pytest.mark.parametrize(
    ("state", "shown"),
    [(SHOWN, True), ("anabranch=show", True), ("xanabranch=show", False), ("anabranch=s", False)],
)
def test_a_tracestate_asks_for_a_trace_to_be_shown(state: str, shown: bool) -> None:
    assert Trace(TRACE, SPAN, state).is_shown is shown
    found = UNTRACED.continued(f"00-{TRACE}-{SPAN}-00", state)
    assert (found is not None) is shown


@given(st.text(max_size=80), st.text(max_size=80))
def test_no_header_breaks_it(traceparent: str, tracestate: str) -> None:
    found = incoming(traceparent, tracestate)
    assert found is None or len(found.trace.trace_id) == 32


def test_a_parent_decides_whatever_the_ratio() -> None:
    for ratio in (0.0, 1.0):
        sampler = Sampler(ratio, exported=True)
        assert sampler.continued(f"00-{TRACE}-{SPAN}-01") == Trace(TRACE, SPAN)
        assert sampler.continued(f"00-{TRACE}-{SPAN}-00") is None
    assert UNTRACED.continued(f"00-{TRACE}-{SPAN}-01") is None


@pytest.mark.parametrize("ratio", [0.01, 0.5, 1.0])
def test_new_traces_are_those_that_opentelemetry_would_take(ratio: float) -> None:
    ours, theirs = Sampler(ratio, exported=True), TraceIdRatioBased(ratio)
    drawn = [trace for _ in range(5000) if (trace := ours.drawn()) is not None]
    assert len({trace.trace_id for trace in drawn}) == len(drawn)
    assert abs(len(drawn) - 5000 * ratio) < 250
    for trace in drawn:
        decision = theirs.should_sample(None, int(trace.trace_id, 16), "span").decision
        assert decision is Decision.RECORD_AND_SAMPLE and trace.span_id == ""


def test_nothing_is_drawn_where_nothing_is_exported() -> None:
    assert Sampler(0.0, exported=True).drawn() is None
    assert Sampler(1.0, exported=False).drawn() is None
