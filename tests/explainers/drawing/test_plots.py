"""The picture of an answer, drawn by matplotlib."""

from __future__ import annotations

import numpy as np
import pytest

from tests.explainers import answers

matplotlib = pytest.importorskip("matplotlib")
image = pytest.importorskip("matplotlib.image")

from anabranch.explainers.drawing import FORMATS, plot  # noqa: E402


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
