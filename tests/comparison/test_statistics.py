"""Statistics, against scipy, against numbers worked out by hand, and under a simulated null."""

import math

import numpy as np
import pytest
from scipy import stats

from image_translation.comparison import statistics
from image_translation.comparison.statistics import LEVEL, difference, holm


def test_holm_by_hand() -> None:
    # Sorted: 0.01 × 4, 0.02 × 3, 0.03 × 2, 0.04 × 1; no one smaller than the one before it.
    assert holm([0.04, 0.01, 0.03, 0.02], 4) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9], 2) == pytest.approx([1.0, 1.0])
    assert holm([0.01, 0.02], 5) == pytest.approx([0.05, 0.08])  # three more that are not looked at
    assert holm([], 0) == []


def test_difference_of_single_runs_is_scipys_bootstrap_of_the_mean() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 150), rng.normal(0.7, 1, 150)
    found = difference(a[None], b[None], seeds_known=False)
    expected = stats.bootstrap((a - b,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(5))
    assert found.mean == pytest.approx((a - b).mean())
    assert found.interval == pytest.approx(tuple(expected.confidence_interval), abs=0.02)
    assert found.p == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert (found.agreeing, found.images) == ((a > b).sum(), 150)
    assert found.conclusion == statistics.THESE_RUNS


def test_the_seeds_part_of_the_interval_is_students() -> None:
    # Every image differs by the same, so the interval is that of the runs' means: 1, 2, 3 against 0, 0.5, 1, or against
    # the single 0 of identity, which no seed changes.
    a, b = (np.array([means]).T + np.zeros(40) for means in ([1.0, 2.0, 3.0], [0.0, 0.5, 1.0]))
    welch = stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False).confidence_interval(0.95)
    assert difference(a, b, seeds_known=True).interval == pytest.approx(tuple(welch), rel=0.01)
    student = stats.ttest_1samp(a[:, 0], 0).confidence_interval(0.95)
    assert difference(a, np.zeros((1, 40)), seeds_known=True).interval == pytest.approx(tuple(student), rel=0.01)
    assert difference(a, b, seeds_known=False).interval == pytest.approx((1.5, 1.5))


def test_neither_one_image_nor_equal_scores_prove_anything() -> None:
    found = difference(np.array([[5.0], [5.1]]), np.array([[1.0], [1.1]]), seeds_known=True)
    assert (found.interval, found.conclusion) == ((-math.inf, math.inf), statistics.NOT_SIGNIFICANT)
    found = difference(np.ones((2, 9)), np.ones((2, 9)), seeds_known=True)
    assert (found.p, found.conclusion) == (1.0, statistics.NOT_SIGNIFICANT)


@pytest.mark.parametrize(("seeds", "spreads"), [
    ((2, 2), (0.3, 0.3)), ((5, 5), (0.3, 0.3)), ((2, 2), (0.5, 0.02)), ((3, 10), (0.5, 0.02)),
])  # fmt: skip
def test_one_model_is_rarely_called_different_from_itself(
    seeds: tuple[int, int], spreads: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A seed makes a whole run better or worse, as in training, and each of its 60 images too."""
    monkeypatch.setattr(statistics, "RESAMPLES", 999)
    rng, alarms = np.random.default_rng(7), 0
    for trial in range(1000):
        images, runs = rng.normal(20, 3, 60), zip(seeds, spreads, strict=True)
        a, b = (images + rng.normal(0, spread, (n, 1)) + rng.normal(0, 0.5, (n, 60)) for n, spread in runs)
        found = difference(a, b, seeds_known=True, seed=trial)
        alarms += found.p < LEVEL and found.conclusion == statistics.SIGNIFICANT
    # 5 % and the three standard deviations that 1000 trials have around it. With two seeds of a model that spreads 25
    # times as far, Welch's degrees of freedom are a little too many.
    assert alarms <= (100 if min(seeds) == 2 and spreads[0] != spreads[1] else 70)


def test_a_mean_that_a_few_images_make_is_not_significant() -> None:
    a = np.concatenate([np.full(160, -0.5), np.full(40, 4.0)])[None] + np.zeros((2, 1))
    found = difference(a, np.zeros((2, 200)), seeds_known=True)
    assert (found.mean, found.conclusion) == (pytest.approx(0.4), statistics.DISAGREE)
    assert found.p < LEVEL
