"""What methods tell, and how rarely they are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anabranch.components import registry
from anabranch.components.contract import CannotLoad
from anabranch.monitors.base import Comparing, Finding, MonitorMethod
from anabranch.monitors.distributions import (
    ChiSquare,
    Drift,
    KolmogorovSmirnov,
    PopulationStabilityIndex,
    index,
)
from anabranch.monitors.outliers import IsolationForest, Mahalanobis, shrunk_covariance
from anabranch.monitors.table import Table, Unfit, table_of

WINDOW = 200
COMPARING = [KolmogorovSmirnov, ChiSquare, Drift, PopulationStabilityIndex, Mahalanobis]


def table(**tensors: Any) -> Table:
    return table_of({name: np.asarray(tensor) for name, tensor in tensors.items()})


def fitted(method: MonitorMethod, reference: Table) -> MonitorMethod:
    method.fit(reference)
    return method


def features(finding: Finding) -> dict[str, float]:
    return {one.name: one.score or 0.0 for one in finding.features}


def mixed(rng: np.random.Generator, rows: int) -> Table:
    return table(
        x=rng.normal(size=(rows, 2)), count=rng.poisson(3, rows), flag=rng.random(rows) < 0.3,
        word=np.array(["a", "b", "c"], object)[rng.choice(3, rows, p=[0.6, 0.3, 0.1])],
    )  # fmt: skip


def test_every_method_is_registered() -> None:
    assert registry.names(registry.MONITOR) == (
        "alibi_detect", "chi_square", "drift", "isolation_forest", "ks", "mahalanobis", "psi",
        "sketch",
    )  # fmt: skip


@pytest.mark.parametrize("method", [Drift, PopulationStabilityIndex])
def test_the_feature_that_changes_is_the_one_that_is_named(method: type[Comparing]) -> None:
    rng = np.random.default_rng(1)
    one = fitted(method(), mixed(rng, 2000))
    plain = mixed(rng, WINDOW)
    assert one.look(plain, 1).score < 1  # type: ignore[operator]
    for place, changed in [
        (0, plain.columns[0] + 1.5),
        (2, plain.columns[2] + 4),
        (3, 1 - plain.columns[3]),
        (4, np.where(plain.columns[4] == "a", "c", plain.columns[4])),
        (4, np.where(plain.columns[4] == "b", "unseen", plain.columns[4])),
        (0, np.where(np.arange(WINDOW) % 3 == 0, np.nan, plain.columns[0])),
    ]:
        columns = tuple(changed if i == place else c for i, c in enumerate(plain.columns))
        finding = one.look(Table(plain.names, columns, plain.categorical), 1)
        drifted = [name for name, score in features(finding).items() if score > 1]
        assert drifted == [plain.names[place]]
        assert finding.score == max(features(finding).values())


@pytest.mark.parametrize("method", COMPARING)
def test_a_constant_that_changes_is_drift_and_one_that_does_not_is_none(
    method: type[Comparing],
) -> None:
    one = fitted(method(), table(x=np.full(500, 7.0)))
    assert one.look(table(x=np.full(WINDOW, 7.0)), 1).score == 0
    assert one.look(table(x=np.full(WINDOW, 8.0)), 1).score > 1  # type: ignore[operator]
    assert one.look(table(x=np.full(WINDOW, np.nan)), 1).score is not None


@pytest.mark.parametrize("method", [KolmogorovSmirnov, ChiSquare, PopulationStabilityIndex])
def test_values_that_go_missing_are_drift(method: type[Comparing]) -> None:
    values = np.repeat([1.0, 2.0], 500)
    one = fitted(method(), table(x=values))
    holes = np.where(np.arange(WINDOW) % 4 == 0, np.nan, values[::5])
    assert one.look(table(x=holes), 1).score > 1  # type: ignore[operator]
    everywhere = fitted(method(), table(x=np.full(500, np.nan)))
    assert everywhere.look(table(x=np.full(WINDOW, np.nan)), 1).score == 0


def test_later_windows_have_less_of_the_rate_and_all_of_them_no_more_than_it() -> None:
    levels = np.exp([Comparing(false_alarm_rate=0.01).log_level(k) for k in range(1, 10_001)])
    assert (np.diff(levels) < 0).all()
    assert levels.sum() == pytest.approx(0.01 * (1 - 1 / 10_001))


def test_a_fixed_index_is_drift_only_where_chance_could_not_be_why() -> None:
    """The index that is customarily large comes about by chance with small windows."""
    rng = np.random.default_rng(3)
    one = fitted(PopulationStabilityIndex(), table(x=rng.normal(size=1000)))
    small = [one.look(table(x=rng.normal(size=30)), 1) for _ in range(50)]
    assert max(f.features[0].statistic or 0 for f in small) > 0.2
    assert max(f.score or 0 for f in small) < 1
    exact = fitted(PopulationStabilityIndex(), table(x=rng.normal(size=20_000)))
    large = exact.look(table(x=rng.normal(0.12, size=20_000)), 1)
    assert (large.features[0].p_value or 0) < 1e-9 and (large.score or 0) < 1


def test_the_index_is_the_sum_over_bins() -> None:
    counts = np.array([99.5, 299.5, 0.0]), np.array([49.5, 49.5, 0.0])
    expected = (0.25 - 0.5) * np.log(0.25 / 0.5) + (0.75 - 0.5) * np.log(0.75 / 0.5)
    assert index(*counts) == pytest.approx(expected)
    assert index(counts[0], counts[0]) == 0


@pytest.mark.parametrize("method", [Mahalanobis, IsolationForest])
def test_rows_that_are_unlike_the_others_are_counted(method: type[Comparing]) -> None:
    if method is IsolationForest:
        pytest.importorskip("sklearn")
    rng = np.random.default_rng(4)
    mixing = rng.normal(size=(5, 5))
    one = fitted(method(), table(x=rng.normal(size=(1000, 5)) @ mixing))
    rows = rng.normal(size=(WINDOW, 5)) @ mixing
    plain = one.look(table(x=rows), 1)
    assert plain.outliers < 10 and (plain.score or 0) < 1
    rows[:30] *= 8
    rows[30, 0] = np.inf
    found = one.look(table(x=rows), 1)
    assert 31 <= found.outliers < 45 and (found.score or 0) > 1
    assert found.features[0].statistic == found.outliers / WINDOW


def test_the_covariance_is_that_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.covariance")
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(40, 8)) @ rng.normal(size=(8, 8))
    rows -= rows.mean(axis=0)
    expected, _ = sklearn.ledoit_wolf(rows, assume_centered=True)
    assert shrunk_covariance(rows) == pytest.approx(expected)


def test_few_rows_and_features_that_follow_from_others_do_no_harm() -> None:
    rng = np.random.default_rng(6)
    x = rng.normal(size=(60, 1))
    rows = np.hstack([x, x, 2 * x, np.zeros((60, 40))])
    one = fitted(Mahalanobis(), table(x=rows))
    assert np.isfinite(one.look(table(x=rows[:50]), 1).score)  # type: ignore[arg-type]


@pytest.mark.parametrize("values", [1, 2, 10, 1000])
def test_equal_numbers_are_no_drift_for_cramer_and_von_mises(values: int) -> None:
    pytest.importorskip("alibi_detect")
    from anabranch.monitors.alibi_detect import AlibiDetect

    rng = np.random.default_rng(11)
    one = fitted(AlibiDetect(), table(x=rng.integers(0, values, (2000, 1)).astype(float)))
    looks = [
        one.look(table(x=rng.integers(0, values, (WINDOW, 1)).astype(float)), number)
        for number in range(1, 31)
    ]
    assert all(found.score < 1 for found in looks)
    if values > 1:
        drifted = one.look(table(x=np.zeros((WINDOW, 1))), 31)
        assert drifted.score > 1
    again = fitted(AlibiDetect(), table(x=np.arange(2000.0)[:, None] % values))
    same = fitted(AlibiDetect(), table(x=np.arange(2000.0)[:, None] % values))
    window = table(x=np.arange(float(WINDOW))[:, None] % values)
    assert again.look(window, 1).features == same.look(window, 1).features


def test_alibi_detect_lends_its_tests() -> None:
    pytest.importorskip("alibi_detect")
    from anabranch.monitors.alibi_detect import AlibiDetect

    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(7)
    reference, rows = rng.normal(size=(500, 2)), rng.normal(size=(WINDOW, 2))
    rows[:, 1] += 1
    found = fitted(AlibiDetect(), table(x=reference)).look(table(x=rows), 1)
    assert features(found)["x[0]"] < 1 < features(found)["x[1]"]
    expected = stats.cramervonmises_2samp(reference[:, 0], rows[:, 0], method="auto").pvalue
    assert found.features[0].p_value == pytest.approx(expected, rel=1e-3)
    flags = (rng.random((500, 1)) < 0.5).astype(float)
    fisher = fitted(AlibiDetect(detector="fet"), table(x=flags))
    assert (fisher.look(table(x=np.ones((WINDOW, 1))), 1).score or 0) > 1


def test_what_does_not_fit_is_named() -> None:
    words = table(word=np.array(["a", "b"] * 50, object))
    with pytest.raises(Unfit, match="word holds texts, and ks is for numbers; watch another"):
        KolmogorovSmirnov().fit(words)
    with pytest.raises(Unfit, match="x has 1000 values in the reference, and categories are 256"):
        ChiSquare().fit(table(x=np.arange(1000.0)))
    with pytest.raises(Unfit, match=r"categories: there is no feature 'wrod' \(did you mean"):
        Drift(categories=["wrod"]).fit(words)
    with pytest.raises(Unfit, match="the reference holds infinities"):
        Mahalanobis().fit(table(x=np.array([np.inf, *range(99)])))
    one = fitted(KolmogorovSmirnov(), table(x=np.zeros((50, 2))))
    with pytest.raises(Unfit, match=r"there are 3 features from x\[0\] on, the reference has 2"):
        one.look(table(x=np.zeros((50, 3))), 1)
    drift = fitted(Drift(), table(x=np.zeros(50)))
    with pytest.raises(Unfit, match="x is of another kind than in the reference"):
        drift.look(table(x=np.array(["a"] * 50, object)), 1)


def test_labels_may_be_called_categories() -> None:
    labels = np.repeat(np.arange(10), 50)
    one = fitted(Drift(categories=["label"]), table(label=labels))
    # The same distribution function at most places, other labels.
    swapped = np.where(labels == 4, 5, labels)
    assert (one.look(table(label=swapped[::2]), 1).score or 0) > 1


def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(CannotLoad, match=r"pip install 'anabranch\[sklearn\]'"):
        IsolationForest().fit(table(x=np.arange(100.0)))


def digits() -> np.ndarray:
    found: np.ndarray = pytest.importorskip("sklearn.datasets").load_digits().data
    return found.astype(np.float32)


def shifted(images: np.ndarray) -> np.ndarray:
    return np.roll(images.reshape(-1, 8, 8), 1, axis=2).reshape(-1, 64)


@pytest.mark.slow
@pytest.mark.parametrize("runs", [2, pytest.param(20, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("method", [Drift, Mahalanobis])
def test_digits_raise_no_alarm_in_runs_of_5000_until_they_are_shifted(
    method: type[Comparing], runs: int
) -> None:
    images = digits()
    for run in range(runs):
        rng = np.random.default_rng(run)
        order = rng.permutation(len(images))
        one = fitted(method(false_alarm_rate=0.01), table(pixels=images[order[:898]]))
        rows = images[rng.choice(order[898:], 5000)]
        windows = [table(pixels=part) for part in np.split(rows, 5000 // WINDOW)]
        scores = [one.look(window, k) for k, window in enumerate(windows, 1)]
        assert max(found.score or 0 for found in scores) < 1
        # From now on shifted; whatever the place in a window, 500 requests hold a whole one.
        late = one.look(table(pixels=shifted(rows[:WINDOW])), len(windows) + 2)
        assert (late.score or 0) > 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runs", "most"), [(20, 3), pytest.param(200, 20, marks=pytest.mark.nightly)]
)
@pytest.mark.parametrize("method", [ChiSquare, PopulationStabilityIndex, Mahalanobis])
def test_false_alarms_are_as_rare_as_is_asked_for(
    method: type[Comparing], runs: int, most: int
) -> None:
    """Each run has a reference of its own, and 2,000 rows from the same distribution.

    The rate is an upper bound; ``most`` is at most three standard deviations above it.
    """
    images, rate = digits(), 0.05
    alarms = 0
    for run in range(runs):
        rng = np.random.default_rng(1000 + run)
        reference = images[rng.integers(0, len(images), 2000)]
        one = fitted(method(false_alarm_rate=rate), table(pixels=reference))
        rows = images[rng.integers(0, len(images), 2000)]
        looks = enumerate(np.split(rows, 10), 1)
        alarms += any((one.look(table(pixels=part), k).score or 0) > 1 for k, part in looks)
    assert alarms <= most
