"""Server-sent events in pieces of any size."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.components.runtimes.open_inference.wire import BadAnswer
from anabranch.components.runtimes.openai import events as module
from anabranch.components.runtimes.openai.events import EventStreamReader, events
from tests.components.runtimes.openai.server import pieces_of

lines = st.text(st.characters(exclude_characters="\r\n", codec="utf-8"), max_size=6)
data = st.lists(lines, min_size=1, max_size=3)
ends = st.sampled_from(["\n", "\r", "\r\n"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A stream and the data of its events; with comments, other fields and any ends of lines."""
    text, expected = "", []
    for event in draw(st.lists(data, max_size=4)):
        end = draw(ends)
        if draw(st.booleans()):
            text += f": comment{end}event: x{end}"
        for line in event:
            space = " " if line.startswith(" ") or draw(st.booleans()) else ""
            text += f"data:{space}{line}{end}"
        text += end
        expected.append("\n".join(event).encode())
    return text.encode(), expected


@given(streams(), st.data())
def test_events_are_the_same_however_they_are_cut(
    stream: tuple[bytes, list[bytes]], drawn: st.DataObject
) -> None:
    body, expected = stream
    cuts = sorted(drawn.draw(st.lists(st.integers(0, len(body)), max_size=6)))
    bounds = [0, *cuts, len(body)]
    reader = EventStreamReader()
    found = [one for start, end in pairwise(bounds) for one in reader.feed(body[start:end])]
    assert found == expected


def test_an_event_that_has_not_ended_is_none() -> None:
    async def all_events() -> list[bytes]:
        return [one async for one in events(pieces_of(b"data: 1\n\ndata: 2\n"))]

    assert asyncio.run(all_events()) == [b"1"]


@pytest.mark.parametrize("body", [b"data: " + b"x" * 100, b"data: xxxxxxxxxxxxx\n" * 10])
def test_an_event_over_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    monkeypatch.setattr(module, "MAX_EVENT", 64)
    with pytest.raises(BadAnswer, match="over 64 bytes"):
        list(EventStreamReader().feed(body))
