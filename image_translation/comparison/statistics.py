"""Is a difference between two models beyond chance?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.05
RESAMPLES = 9999
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """Model A minus model B in one measure.

    Attributes:
        mean: difference of the means over images and seeds.
        low: lower end of its 95 % interval, over images and seeds; ``high`` the upper end.
        image_low: the same over images alone, as if these runs were all there are; ``image_high`` likewise.
        p: of the Wilcoxon signed-rank test over images, for this one comparison.
        higher: on how many images A's score, averaged over its seeds, is higher than B's.
        lower: on how many it is lower.
        images: how many there are.
        agrees: whether the ranks favour the same model as the mean; a few large differences can outweigh many small.
        seeds_known: whether the interval holds what another seed would change; it can't with one run of a model.
    """

    mean: float
    low: float
    high: float
    image_low: float
    image_high: float
    p: float
    higher: int
    lower: int
    images: int
    agrees: bool
    seeds_known: bool

    def beyond_images(self) -> bool:
        """Whether the interval over images excludes zero."""
        return self.image_low > 0 or self.image_high < 0

    def beyond_seeds(self) -> bool:
        """Whether the interval over images and seeds does."""
        return self.seeds_known and (self.low > 0 or self.high < 0)


def difference(a: Array, b: Array, *, a_varies: bool = True, b_varies: bool = True, seed: int = 0) -> Difference:
    """Compare two models' scores on the same images.

    The interval answers "what if it had been other images and other seeds?". Images are resampled, in pairs
    (percentile bootstrap). What seeds do is Student's t with the variances of the runs' means and the degrees of
    freedom of Welch and Satterthwaite: two or three seeds are too few to resample, and one model's may spread more than
    another's. Scores of different seeds are averaged for each image before the ranks are compared, because two runs
    of one model on one image are not two images.

    Args:
        a: scores (runs, images) of model A; each run has another seed.
        b: the same of model B, with the same images in the same order.
        a_varies: False if no seed can change A, as with identity.
        b_varies: the same for B.
        seed: of the resampling.
    """
    per_image = a.mean(axis=0) - b.mean(axis=0)
    groups = [group.mean(axis=1) for group, varies in ((a, a_varies), (b, b_varies)) if varies]
    seeds_known = all(len(group) > 1 for group in groups)

    rng = np.random.default_rng(seed)
    means = _bootstrap_means(per_image, rng)
    ends = np.quantile(means, [LEVEL / 2, 1 - LEVEL / 2])
    image_low, image_high = (float(end) for end in ends)
    if seeds_known and (noise := _noise_of_seeds(groups, len(means))) is not None:
        ends = np.quantile(means + rng.permutation(noise), [LEVEL / 2, 1 - LEVEL / 2])
    low, high = (float(end) for end in ends)
    if len(per_image) == 1:  # there is nothing to resample: one image says nothing about others
        low, high = image_low, image_high = -math.inf, math.inf
    ranks = stats.rankdata(np.abs(per_image[per_image != 0]))
    majority = float(np.sum(ranks * np.sign(per_image[per_image != 0])))
    return Difference(
        mean=float(per_image.mean()), low=low, high=high, image_low=image_low, image_high=image_high,
        p=wilcoxon(per_image), higher=int((per_image > 0).sum()), lower=int((per_image < 0).sum()),
        images=len(per_image), agrees=majority * float(per_image.mean()) > 0, seeds_known=seeds_known,
    )  # fmt: skip


def _noise_of_seeds(groups: Sequence[Array], count: int) -> Array | None:
    """What other seeds would add to the difference of two models' means: ``count`` quantiles of a scaled Student's t.

    Quantiles, because they are steadier than random numbers. None if no seed has changed anything.
    """
    variances = [float(group.var(ddof=1)) / len(group) for group in groups]
    if not sum(variances):
        return None
    freedom = sum(variances) ** 2 / sum(v**2 / (len(group) - 1) for v, group in zip(variances, groups, strict=True))
    t: Array = stats.t.ppf((np.arange(count) + 0.5) / count, freedom)
    return math.sqrt(sum(variances)) * t


def wilcoxon(differences: Array) -> float:
    """The two-sided p of the Wilcoxon signed-rank test; 1 where nothing differs."""
    return float(stats.wilcoxon(differences).pvalue) if np.any(differences != 0) else 1.0


def _bootstrap_means(values: Array, rng: np.random.Generator) -> Array:
    if np.all(values == values[0]):
        return np.full(RESAMPLES, values[0])
    result = stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, batch=max(1, 10**7 // len(values)), method="percentile", rng=rng,
        vectorized=True,
    )  # fmt: skip
    return np.asarray(result.bootstrap_distribution, dtype=np.float64)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment of several tests' p, in their order (Holm 1979)."""
    adjusted, worst = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        worst = max(worst, (len(ps) - rank) * ps[index])
        adjusted[index] = min(1.0, worst)
    return adjusted
