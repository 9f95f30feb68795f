"""Statistics, against scipy, against numbers worked out by hand, and under a simulated null."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from image_translation.comparison import statistics
from image_translation.comparison.statistics import LEVEL, difference, holm, wilcoxon


def test_wilcoxon_by_hand() -> None:
    # Ranks of |d|: 1, 2, 3, 4, 5; those of the negative: 1. W- = 1, so p = 2 * (1 + 1) / 2**5: of the 32 equally likely
    # assignments of signs only the empty one and {rank 1} have a rank sum of at most 1.
    assert wilcoxon(np.array([2.0, -1.0, 3.0, 4.0, 5.0])) == pytest.approx(4 / 32)


def test_wilcoxon_by_counting_all_signs() -> None:
    values = np.array([0.3, 1.2, -0.7, 2.2, 1.9, -0.1, 0.9])
    ranks = stats.rankdata(np.abs(values))
    observed = min(ranks[values > 0].sum(), ranks[values < 0].sum())
    sums = [sum(r for r, positive in zip(ranks, signs, strict=True) if positive)
            for signs in itertools.product((False, True), repeat=len(values))]  # fmt: skip
    by_hand = min(1.0, 2 * np.mean([total <= observed for total in sums]))
    assert wilcoxon(values) == pytest.approx(by_hand)


def test_wilcoxon_without_any_difference() -> None:
    assert wilcoxon(np.zeros(9)) == 1.0


def test_holm_by_hand() -> None:
    # Sorted: 0.01 × 4, 0.02 × 3, 0.03 × 2, 0.04 × 1; no one smaller than the one before it.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_difference_of_single_runs_is_scipys_bootstrap_of_the_mean() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 150), rng.normal(0.7, 1, 150)
    found = difference(a[None], b[None])
    expected = stats.bootstrap((a - b,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(5))
    assert found.mean == pytest.approx((a - b).mean())
    assert found.low == pytest.approx(expected.confidence_interval.low, abs=0.02)
    assert found.high == pytest.approx(expected.confidence_interval.high, abs=0.02)
    assert found.p == pytest.approx(stats.wilcoxon(a, b).pvalue)
    assert (found.higher, found.lower) == ((a > b).sum(), (a < b).sum())
    assert not found.seeds_known


def test_the_seeds_part_of_the_interval_is_students() -> None:
    # Every image differs by the same, so the interval is that of the runs' means: 1, 2, 3 against 0, 0.5, 1.
    a = np.array([[1.0], [2.0], [3.0]]) + np.zeros(40)
    b = np.array([[0.0], [0.5], [1.0]]) + np.zeros(40)
    found = difference(a, b)
    expected = stats.ttest_ind(a[:, 0], b[:, 0], equal_var=False).confidence_interval(0.95)
    assert found.seeds_known
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=0.01)
    assert (found.image_low, found.image_high) == pytest.approx((1.5, 1.5))


def test_identity_has_no_seeds_to_be_unknown() -> None:
    a = np.array([[1.0], [2.0], [3.0]]) + np.zeros(40)
    found = difference(a, np.zeros((1, 40)), b_varies=False)
    expected = stats.ttest_1samp(a[:, 0], 0).confidence_interval(0.95)
    assert found.seeds_known
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=0.01)
    assert not difference(a[:1], np.zeros((1, 40)), b_varies=False).seeds_known


def test_one_image_proves_nothing() -> None:
    found = difference(np.array([[5.0], [5.1]]), np.array([[1.0], [1.1]]))
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert not found.beyond_seeds()
    assert not found.beyond_images()


def called(a: np.ndarray, b: np.ndarray, seed: int) -> bool:
    found = difference(a, b, seed=seed)
    return found.p < LEVEL and found.agrees and found.beyond_images() and found.beyond_seeds()


def runs_of_one_model(
    rng: np.random.Generator, seeds: int, images: int, own: float = 0.0, spread: float = 0.3
) -> np.ndarray:
    """Scores in which a seed makes a whole run better or worse, as in training, and each of its images too."""
    return own + rng.normal(0, spread, (seeds, 1)) + rng.normal(0, 0.5, (seeds, images))


def false_alarms(
    seeds: tuple[int, int], spreads: tuple[float, float], monkeypatch: pytest.MonkeyPatch, trials: int = 1000
) -> float:
    """How often two models without any difference are called different."""
    monkeypatch.setattr(statistics, "RESAMPLES", 999)
    rng, alarms = np.random.default_rng(7), 0
    for trial in range(trials):
        images = rng.normal(20, 3, 60)
        a, b = (images + runs_of_one_model(rng, n, 60, spread=s) for n, s in zip(seeds, spreads, strict=True))
        alarms += called(a, b, trial)
    return alarms / trials


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_one_model_is_not_called_different_from_itself(seeds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # 5 % and the three standard deviations that 1000 trials have around it.
    assert false_alarms((seeds, seeds), (0.3, 0.3), monkeypatch) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)


@pytest.mark.parametrize("seeds", [(2, 2), (3, 3), (2, 5), (3, 10)])
def test_neither_are_models_whose_seeds_spread_unequally(
    seeds: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # With two seeds of the model that spreads 25 times as far, Welch's degrees of freedom are a little too many.
    most = 0.10 if min(seeds) == 2 else 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)
    assert false_alarms(seeds, (0.5, 0.02), monkeypatch) <= most


def test_a_mean_that_a_few_images_make_is_not_agreed_with() -> None:
    a = np.concatenate([np.full(160, -0.5), np.full(40, 4.0)])[None] + np.zeros((2, 1))
    found = difference(a, np.zeros((2, 200)))
    assert found.mean == pytest.approx(0.4)
    assert found.p < LEVEL
    assert not found.agrees


def test_images_alone_would_call_one_model_different_from_itself() -> None:
    """Why seeds have a part in it: without them nearly every pair of runs differs."""
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(200):
        images = rng.normal(20, 3, 200)
        a, b = (images + runs_of_one_model(rng, 1, 200)[0] for _ in range(2))
        alarms += wilcoxon(a - b) < LEVEL
    assert alarms > 100


def test_a_better_model_is_found() -> None:
    rng = np.random.default_rng(1)
    images = rng.normal(20, 3, 60)
    better, worse = (images + runs_of_one_model(rng, 3, 60, own) for own in (3.0, 0.0))
    assert called(better, worse, 0)
    assert difference(better, worse).mean > 0
