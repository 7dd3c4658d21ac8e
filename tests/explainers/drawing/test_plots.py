"""The picture of an answer, drawn by matplotlib."""

from __future__ import annotations

import numpy as np
import pytest

from tests.explainers import answers

matplotlib = pytest.importorskip("matplotlib")
image = pytest.importorskip("matplotlib.image")

pytest.importorskip("matplotlib.figure")

from anabranch.explainers.drawing import FORMATS, plot  # noqa: E402
from anabranch.explainers.drawing.plots import draw  # noqa: E402


@pytest.mark.parametrize("name", answers.ALL)
def test_every_answer_has_a_picture(tmp_path, name):
    plot(answers.ALL[name], tmp_path / "out.png")
    pixels = image.imread(tmp_path / "out.png")
    assert pixels.shape[0] > 50 and pixels.shape[1] > 300
    assert pixels[..., :3].min() < 0.5  # something is drawn


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_suffix_chooses_the_format(tmp_path, suffix):
    plot(answers.TABULAR, tmp_path / f"out{suffix}")
    begins = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert (tmp_path / f"out{suffix}").read_bytes().startswith(begins)


LONG = "the number of rooms with a view of the river or of the sea"
CROWDED = {
    "model_name": "flats",
    "method": "kernel_shap",
    "explanations": [
        {
            "target": f"{LONG} {row}",
            "prediction": 0.000123456,
            "base_value": -1.23e-5,
            "seed": 4294967295,
            "feature_names": [f"{LONG} {index}" for index in range(8)],
            "attributions": [scale * value for value in (1, -1, 0.9, -0.5, 0, 0.25, -0.001, 0.3)],
        }
        for row, scale in enumerate((1.23456e-5, 123456.7, -0.3333))
    ],
}
CURVES = {
    "model_name": "flats",
    "method": "ale",
    "explanations": [
        {
            "curves": [
                {"feature": f"{LONG} {start}", "grid": [start, start + 1e-5, start + 3e-5],
                 "values": [0.1, -0.2, 0.3]}
                for start in (0.1, 123456.5, 0.0)
            ]
        }
    ],
}  # fmt: skip


def texts_of(figure):
    """The boxes of all texts that are shown, each with the text."""
    figure.draw_without_rendering()
    return [
        (text.get_window_extent(), text.get_text())
        for text in figure.findobj(matplotlib.text.Text)
        if text.get_text().strip() and text.get_visible()
    ]


def shown_ticks(figure):
    """Matplotlib keeps labels of ticks beyond the limits, and does not draw them."""
    for place in figure.axes:
        for axis, (low, high) in ((place.xaxis, place.get_xlim()), (place.yaxis, place.get_ylim())):
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                inside = min(low, high) <= tick.get_loc() <= max(low, high)
                tick.label1.set_visible(place.axison and inside and tick.label1.get_visible())


@pytest.mark.parametrize("answer", [CROWDED, CURVES, *answers.ALL.values()])
def test_no_text_covers_another_or_leaves_the_picture(answer):
    figure = matplotlib.figure.Figure(layout="constrained", dpi=120)
    with matplotlib.rc_context({"text.parse_math": False, "font.size": 9}):
        draw(figure, answer)
        figure.draw_without_rendering()
        shown_ticks(figure)
        found = texts_of(figure)
    for index, (one, text) in enumerate(found):
        assert one.x1 <= figure.bbox.x1 + 1 and one.x0 >= -1, text
        for other, more in found[:index]:
            wide = min(one.x1, other.x1) - max(one.x0, other.x0)
            high = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert wide <= 1 or high <= 1, (text, more)


def test_names_are_drawn_as_they_are(tmp_path):
    plot(answers.TABULAR, tmp_path / "out.svg")
    text = (tmp_path / "out.svg").read_text()
    assert "mean &lt;radius&gt;" in text
    assert "$texture$" in text


def test_colours_tell_for_from_against(tmp_path):
    plot(answers.IMAGE, tmp_path / "out.png")
    pixels = np.round(image.imread(tmp_path / "out.png")[..., :3] * 255).reshape(-1, 3)
    shades = {tuple(color) for color in pixels.astype(int)}
    assert (0xC2, 0x54, 0x2D) in shades  # the strongest place, against
    assert any(blue > red + 40 for red, _, blue in shades)


def test_settings_of_others_stay_as_they_are(tmp_path):
    before = dict(matplotlib.rcParams)
    plot(answers.TABULAR, tmp_path / "out.png")
    assert dict(matplotlib.rcParams) == before


def test_a_file_that_cannot_be_written_is_an_error_of_the_system(tmp_path):
    with pytest.raises(OSError, match="no-folder"):
        plot(answers.TABULAR, tmp_path / "no-folder" / "out.png")
