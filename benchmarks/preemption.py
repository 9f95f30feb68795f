"""How much work 256 preemptible workers lose, by how often they save a checkpoint.

python -m benchmarks.preemption [--cost 0.4] [--start 15]

Workers lose their machines at random, at a constant rate. What was computed since the last checkpoint is lost then, and
so is the time of a new start. The best interval is about the root of 2 x cost x mean time between failures
(Young 1974).
"""

import argparse
import math

import numpy as np
from numpy.typing import NDArray

WORKERS, WORK = 256, 24 * 3600.0  # seconds of training that each of them has to do


def wasted_share(interval: float, cost: float, start: float, mtbf: float, seed: int = 0) -> float:
    """The share of all machine time that is not training which counts; times in seconds.

    Args:
        interval: of training between two checkpoints.
        cost: of a checkpoint.
        start: of a process until it trains.
        mtbf: mean time between failures of a machine.
    """
    rng = np.random.default_rng(seed)
    left, used = np.full(WORKERS, WORK), np.zeros(WORKERS)
    while (working := left > 0).any():
        alive: NDArray[np.float64] = rng.exponential(mtbf, WORKERS)
        needed = start + left + np.ceil(left / interval) * cost  # it ends with a checkpoint
        ends = working & (needed <= alive)
        saved = np.maximum(alive - start, 0) // (interval + cost) * interval
        used += np.where(working, np.where(ends, needed, alive), 0)
        left = np.where(ends, 0, np.where(working, left - saved, left))
    return float(1 - WORKERS * WORK / used.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cost", type=float, default=0.4, help="seconds that a checkpoint takes")
    parser.add_argument("--start", type=float, default=15.0, help="seconds until a new process trains")
    options = parser.parse_args()
    factors = (0.25, 0.5, 1, 2, 4, 16, 64)
    print("| a failure every | best interval |" + "".join(f" × {factor:g} |" for factor in factors))
    print("|---" * (2 + len(factors)) + "|")
    for minutes in (10, 30, 120, 480):
        best = math.sqrt(2 * options.cost * minutes * 60)
        shares = (wasted_share(factor * best, options.cost, options.start, minutes * 60) for factor in factors)
        print(f"| {minutes} min | {best:.0f} s |" + "".join(f" {share:.1%} |" for share in shares))


if __name__ == "__main__":
    main()
