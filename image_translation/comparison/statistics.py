"""Is one model significantly better than another?"""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from image_translation.comparison.collect import TaskComparison
from image_translation.metrics.names import HIGHER_IS_BETTER

LEVEL = 0.05
RESAMPLES = 9999
Array = NDArray[np.float64]

# Conclusions: whether other images would show the same (THESE_RUNS), and other seeds too (SIGNIFICANT). A few large
# differences can outweigh many small ones in the mean, but not in the ranks (DISAGREE).
SIGNIFICANT, THESE_RUNS = "significant", "these runs only"
DISAGREE, NOT_SIGNIFICANT = "mean and ranks disagree", "not significant"
TOO_FEW = "too few images"  # for so many comparisons: no p could be below the level


@dataclass(frozen=True)
class Difference:
    """Model A minus model B in one metric."""

    mean: float  # over images and seeds
    interval: tuple[float, float]  # 95 %, over images, and over seeds where it is known what they change
    p: float  # of the Wilcoxon signed-rank test over images
    images: int
    agreeing: int  # on how many images the difference, averaged over seeds, has the sign of the mean
    conclusion: str  # if p is below ``LEVEL``


def difference(a: Array, b: Array, seeds_known: bool, seed: int = 0) -> Difference:
    """Compare two models' scores on the same images, as docs/metrics.md explains.

    Images are resampled in pairs. To this is added what seeds change, by Student's t, because two or three are too few
    to resample. Scores are averaged over seeds first, because two runs of a model on one image are not two images.

    Args:
        a: scores (runs, images) of model A, one run for each seed; ``b`` those of model B on the same images.
        seeds_known: whether the runs show what seeds change. A model with one run is then one that no seed changes.
        seed: of the resampling.
    """
    per_image = a.mean(axis=0) - b.mean(axis=0)
    mean = float(per_image.mean())
    low, high = image_low, image_high = -math.inf, math.inf
    if len(per_image) > 1:  # one image says nothing about others
        rng = np.random.default_rng(seed)
        options = {"n_resamples": RESAMPLES, "batch": max(1, 10**7 // len(per_image)), "method": "percentile"}
        means = stats.bootstrap((per_image,), np.mean, **options, rng=rng).bootstrap_distribution
        low, high = image_low, image_high = np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2])
        if seeds_known:
            means += rng.permutation(_noise_of_seeds([scores.mean(axis=1) for scores in (a, b) if len(scores) > 1]))
            low, high = np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2])
    changed = per_image[per_image != 0]
    p = float(stats.wilcoxon(per_image).pvalue) if len(changed) else 1.0
    rank_sum = np.sum(stats.rankdata(np.abs(changed)) * np.sign(changed))
    if image_low <= 0 <= image_high:
        conclusion = NOT_SIGNIFICANT
    elif rank_sum * mean <= 0:
        conclusion = DISAGREE
    else:
        conclusion = SIGNIFICANT if seeds_known and not low <= 0 <= high else THESE_RUNS
    agreeing = int(np.sum(per_image * mean > 0))
    return Difference(mean, (float(low), float(high)), p, len(per_image), agreeing, conclusion)


def _noise_of_seeds(means_of_runs: Sequence[Array]) -> Array:
    """What other seeds add to a difference of means: quantiles of Student's t, after Welch and Satterthwaite."""
    variances = [float(means.var(ddof=1)) / len(means) for means in means_of_runs]
    if not sum(variances):
        return np.zeros(RESAMPLES)
    terms = [v**2 / (len(means) - 1) for v, means in zip(variances, means_of_runs, strict=True)]
    t: Array = stats.t.ppf((np.arange(RESAMPLES) + 0.5) / RESAMPLES, sum(variances) ** 2 / sum(terms))
    return math.sqrt(sum(variances)) * t


def holm(ps: Sequence[float], count: int) -> list[float]:
    """Holm's step-down adjustment of several tests' p, in their order (Holm 1979), as if there were ``count`` tests."""
    order = np.argsort(ps, kind="stable")
    adjusted = np.empty(len(ps))
    adjusted[order] = np.maximum.accumulate(np.asarray(ps)[order] * np.arange(count, count - len(ps), -1)).clip(max=1)
    return list(map(float, adjusted))


@dataclass(frozen=True)
class Verdict:
    """Two experiments of a task compared in one metric, the better one first."""

    task: str
    metric: str
    better: str
    worse: str
    difference: Difference  # better minus worse
    train: float | None  # better minus worse on the training images, if they were evaluated
    p: float  # corrected by Holm's method for all comparisons
    least: float  # that p could be, if all images agreed

    @property
    def conclusion(self) -> str:
        if self.p < LEVEL:
            return self.difference.conclusion
        return NOT_SIGNIFICANT if self.least < LEVEL else TOO_FEW

    @property
    def pair(self) -> tuple[str, ...]:
        return tuple(sorted((self.better, self.worse)))

    @property
    def claim(self) -> tuple[str, ...]:
        """The conclusion and its models: the better one first, unless there is none."""
        unknown = self.conclusion in (NOT_SIGNIFICANT, TOO_FEW)
        return self.conclusion, *(self.pair if unknown else (self.better, self.worse))


def judge(tasks: Sequence[TaskComparison]) -> list[Verdict]:
    """A verdict for every pair of a task's best experiments and baselines in every metric.

    All pairs count, of experiments that are not compared too: the best were chosen by what is tested.
    """
    found = []
    pairs = [math.comb(len(task.experiments), 2) - math.comb(len(task.baselines), 2) for task in tasks]
    count = sum(len(task.metrics) * number for task, number in zip(tasks, pairs, strict=True))
    for task in tasks:
        for (a, b), metric in itertools.product(itertools.combinations(task.compared, 2), task.metrics):
            if a in task.baselines and b in task.baselines:
                continue
            gain = (b.mean(metric) - a.mean(metric)) * (1 if HIGHER_IS_BETTER[metric] else -1)
            better, worse = (b, a) if gain > 0 else (a, b)
            d = difference(better.scores(metric), worse.scores(metric), better.seeds_known and worse.seeds_known)
            evaluated = better.means(metric, "train") and worse.means(metric, "train")
            train = better.mean(metric, "train") - worse.mean(metric, "train") if evaluated else None
            found.append((task.task, metric, better.label, worse.label, d, train))
    ps = holm([d.p for *_, d, _ in found], count)
    least = [count * 2 / 2**d.images for *_, d, _ in found]
    return [Verdict(*fields, p, lowest) for fields, p, lowest in zip(found, ps, least, strict=True)]


def winners(tasks: Sequence[TaskComparison], verdicts: Sequence[Verdict]) -> dict[str, dict[str, str | None]]:
    """By task and metric the experiment that is significantly better than every other, or None."""
    wins = Counter((v.task, v.metric, v.better) for v in verdicts if v.conclusion == SIGNIFICANT)
    others = {task.task: len(task.compared) - 1 for task in tasks}
    best = {(task, metric): label for (task, metric, label), count in wins.items() if count == others[task]}
    return {task.task: {metric: best.get((task.task, metric)) for metric in task.metrics} for task in tasks}
