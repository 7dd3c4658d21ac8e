from __future__ import annotations

import logging

import numpy as np
import pytest

from anabranch.explainers import progress


def test_long_work_is_told_of(caplog, monkeypatch):
    monkeypatch.setattr(progress, "_EVERY", -1.0)
    watch = progress.ExplanationProgress()
    model = watch.watched(lambda rows: rows * 2)
    with caplog.at_level(logging.INFO, logger="anabranch.explainers"):
        model(np.ones(7))
        with watch.work("kernel_shap is fitted on 3 rows"):
            assert model(np.ones(2)).tolist() == [2, 2]
            model(np.ones(3))
        model(np.ones(7))
    told = [record.getMessage() for record in caplog.records]
    assert told[0] == "kernel_shap is fitted on 3 rows: begins"
    assert [line.partition(" after ")[2].partition(", ")[2] for line in told[1:]] == [
        "1 calls of the model with 2 rows",
        "2 calls of the model with 5 rows",
        "2 calls of the model with 5 rows",
    ]
    assert ": done after " in told[-1]


def test_work_that_fails_is_not_done(caplog):
    watch = progress.ExplanationProgress()
    with (
        caplog.at_level(logging.INFO, logger="anabranch.explainers"),
        pytest.raises(ValueError, match="no"),
        watch.work("ale"),
    ):
        raise ValueError("no")
    assert [record.getMessage() for record in caplog.records] == ["ale: begins"]
