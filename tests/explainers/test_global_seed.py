from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from anabranch.explainers.global_seed import seeded


def draw(seed):
    with seeded(seed):
        return [np.random.random(50).tolist() for _ in range(50)]


def test_what_was_before_comes_back():
    np.random.seed(1)
    expected = np.random.random(2).tolist()
    np.random.seed(1)
    assert draw(5) == draw(5) != draw(6)
    with pytest.raises(KeyError), seeded(7):
        np.random.random()
        raise KeyError
    assert np.random.random(2).tolist() == expected


def test_threads_do_not_disturb_each_other():
    seeds = [1, 2, 3, 4] * 8
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(draw, seeds))
    assert together == [draw(seed) for seed in seeds]
