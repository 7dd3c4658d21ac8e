"""The page of an answer."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from anabranch.explainers.drawing import to_html
from tests.explainers import answers

VOID = {"meta", "rect", "line", "polyline"}


class Page(HTMLParser):
    """Elements, their attributes and texts; a mistake where they do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.texts.append(data)


@pytest.mark.parametrize("name", answers.ALL)
def test_a_page_is_complete_in_itself(name):
    text = to_html(answers.ALL[name])
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not {"src", "href", "onload"} & {name for name, _ in page.attributes}
    assert "url(" not in text and "@import" not in text
    assert "prefers-color-scheme: dark" in text
    assert ("content", "width=device-width, initial-scale=1") in page.attributes


def test_texts_are_escaped():
    assert "mean <radius>" in Page(to_html(answers.TABULAR)).texts
    assert '{"because": "<script>alert(1)</script>"}' in Page(to_html(answers.OWN)).texts
    evil = {**answers.TABULAR, "model_name": "</title><script>", "explainer": '"><b>'}
    assert "script" not in Page(to_html(evil)).tags


def test_bars_begin_at_zero_and_are_as_long_as_their_numbers():
    text = to_html(answers.TABULAR)
    # From -0.25 to 0.5: zero stands at a third.
    assert 'style="left:33.33%;width:66.67%"' in text
    assert 'class="minus" style="left:0.00%;width:33.33%"' in text


def test_maps_show_the_strongest_place_in_full():
    text = to_html(answers.IMAGE)
    assert '<rect x="10" y="10" width="10" height="10" class="minus" fill-opacity="1.00"/>' in text
    assert '<rect x="0" y="10" width="10" height="10" class="plus" fill-opacity="0.25"/>' in text
    assert text.count("<rect") == 2 + 3  # two grounds, and places that are not zero


def test_curves_and_rules_and_what_is_not_shown():
    assert 'points="34.0,8.0' not in to_html(answers.CURVES)
    assert "<polyline" in to_html(answers.CURVES)
    assert "<li>radius &gt; 13.4</li>" in to_html(answers.RULE)
    assert "28 more rows are not shown" in to_html(answers.MANY)
    assert "nothing was explained" in to_html(answers.NOTHING)
