"""Drawings of boxes and arrows, which any reader of XML can read."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from anabranch.graph.plan.drawing import DrawnArrow, DrawnBox, svg
from tests.examples import examples

SVG = "{http://www.w3.org/2000/svg}"
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn"]), max_size=40)


@st.composite
def drawings(draw: Any) -> tuple[dict[str, DrawnBox], list[DrawnArrow]]:
    names = [f"n{at}" for at in range(draw(st.integers(1, 9)))]
    boxes = {
        name: DrawnBox(draw(TEXTS), draw(TEXTS), "#ffffff", draw(st.booleans())) for name in names
    }
    pairs = [(one, two) for at, one in enumerate(names) for two in names[at + 1 :]]
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=12)) if pairs else []
    return boxes, [DrawnArrow(one, two, draw(TEXTS), draw(st.booleans())) for one, two in chosen]


def boxes_of(drawing: ElementTree.Element) -> list[tuple[float, float, float]]:
    return [
        (float(one.attrib["x"]), float(one.attrib["y"]), float(one.attrib["width"]))
        for one in drawing.iter(f"{SVG}rect")
    ]


@settings(max_examples=examples(200))
@given(drawings())
def test_boxes_never_overlap_and_arrows_lead_to_the_right(
    drawn: tuple[dict[str, DrawnBox], list[DrawnArrow]],
) -> None:
    boxes, arrows = drawn
    drawing = ElementTree.fromstring(svg(boxes, arrows, "<title>"))
    places = dict(zip(boxes, boxes_of(drawing), strict=True))
    assert len({(x, y) for x, y, _ in places.values()}) == len(boxes)
    for arrow in arrows:
        x, _, width = places[arrow.source]
        assert x + width < places[arrow.target][0]
    assert len(list(drawing.iter(f"{SVG}path"))) == len(arrows) + 1  # and the arrow's head


def test_what_a_name_says_is_text_and_never_markup() -> None:
    box = DrawnBox("<script>alert(1)</script>", '"&', "#fff")
    text = svg({"a": box}, [], "</title><script>")
    assert "<script" not in text
    assert [one.text for one in ElementTree.fromstring(text).iter(f"{SVG}text")] == [
        "<script>alert(1)</script>", '"&',
    ]  # fmt: skip


def test_a_long_name_is_cut_in_its_box_and_whole_in_its_tooltip() -> None:
    drawing = ElementTree.fromstring(svg({"a": DrawnBox("n" * 60, "detail", "#fff")}, [], "g"))
    shown = [str(one.text) for one in drawing.iter(f"{SVG}text")]
    assert shown[0] == "n" * 27 + "…"
    assert [one.text for one in drawing.iter(f"{SVG}title")][1] == f"{'n' * 60}: detail"
