"""From the facts of each pair to what is wrong with the whole set.

The limits were chosen on the real pairs of the three tasks, as they are and with planted faults (docs/data.md).
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import median_abs_deviation

from image_translation.checking.facts import FEW, Facts, agreement_between
from image_translation.checking.findings import Finding

FLIP_GAIN, SHIFT_GAIN, TARGET_GAIN = 0.05, 0.1, 0.15  # of the agreement if flipped, shifted, with another target
SHIFT_LEAST, SHIFT_PIXELS = 0.3, 2.0  # the agreement after the shift, and its length
INPUTS_ALIKE = 0.7  # agreement of two inputs, which match each other's targets too
LOW = 0.2  # agreement; if the median is lower, pairs need not be aligned
CLEAR = 0.4  # agreement that is not reached by chance
OUTLIER = 6.0  # standard deviations below the median
EQUAL = 0.1  # of the edges have the same gray value: the pair is aligned, whatever the rest is
MANY = 0.05  # of the pairs: so many are hardly mistaken
MOST = 0.9  # of the images
MOST_SEARCHED = 5000  # pairs, those whose halves agree least, for a better partner


def judge_alignment(facts: Sequence[Facts]) -> list[Finding]:
    """Pairs that are flipped, shifted, or not a pair, judged by the other pairs of the set."""
    usable = [item for item in facts if len(item.halves) == 2 and not item.problems]
    pairs = [item for item in usable if all(half.digest for half in item.halves.values())]
    if len(pairs) < FEW:
        return []
    best = np.array([max(its.as_is, its.flipped, its.shifted) for its in (item.agreement for item in pairs)])
    usual, spread = float(np.median(best)), median_abs_deviation(best, scale="normal") + 1e-3
    matches = _find_better_targets(pairs, best)
    if usual < LOW and not matches:
        return [Finding("unaligned", f"The median agreement is {usual:.2f}, too low to judge single pairs.")]

    found, many = [], max(MANY * len(pairs), 2)
    for number, item in enumerate(pairs):
        its, images = item.agreement, [(item, "input"), (item, "target")]
        if its.equal >= EQUAL:
            continue
        if number in matches:
            other, there = matches[number]
            exchanged = other in matches and matches[other][0] == number
            kind = "wrong target" if exchanged or len(matches) >= many else "maybe wrong target"
            text = f"agreement {there:.2f} with the target of {pairs[other].name}, {its.as_is:.2f} with its own"
            images.append((pairs[other], "target"))
        elif its.flipped > max(its.as_is + FLIP_GAIN, usual / 2):
            kind, text = "flipped", f"agreement {its.flipped:.2f} with the input flipped, {its.as_is:.2f} as it is"
        elif (
            its.shifted > max(its.as_is + SHIFT_GAIN, usual / 2, SHIFT_LEAST)
            and max(map(abs, its.shift)) >= SHIFT_PIXELS
        ):
            kind, text = "shifted", "target shifted by {:+.0f} pixels in x and {:+.0f} in y".format(*its.shift)
        elif its.as_is < usual - OUTLIER * spread:
            kind, text = "low agreement", f"agreement {its.as_is:.2f}; the median is {usual:.2f}"
        else:
            continue
        found.append(Finding(kind, f"{item.name}: {text}.", images))
    shifted = [finding for finding in found if finding.kind == "shifted"]
    for finding in shifted if len(shifted) < many else []:
        finding.kind = "maybe shifted"
    return found


def _find_better_targets(pairs: Sequence[Facts], best: NDArray[np.float64]) -> dict[int, tuple[int, float]]:
    """Pairs whose input matches another pair's target much better than its own, and the other pair and agreement."""
    inputs, targets = (np.stack([item.halves[half].edges.ravel() for item in pairs]) for half in ("input", "target"))
    enough = np.percentile([item.agreement.as_is for item in pairs], 10) if np.median(best) >= CLEAR else CLEAR
    found = {}
    for number in np.argsort(best, kind="stable")[:MOST_SEARCHED].tolist():
        item = pairs[number]
        other = int((targets @ inputs[number]).argmax())
        if other == number or item.agreement.equal >= EQUAL or inputs[number] @ inputs[other] >= INPUTS_ALIKE:
            continue
        agreement = agreement_between(item, pairs[other])
        if agreement >= enough and agreement > best[number] + TARGET_GAIN:
            found[number] = other, agreement
    return found


def judge_colors(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Images of one color, gray images among colored ones, and directions that look swapped."""
    gray_share = {}
    for half in sorted({half for item in facts for half in item.halves}):
        there = [item for item in facts if half in item.halves]
        flat = [item for item in there if item.halves[half].digest is None]
        gray = [item for item in there if item.halves[half].is_gray and item.halves[half].digest]
        dark = [item for item in there if item.halves[half].peak < 64 and item.halves[half].digest]
        if len(dark) > len(there) / 2:
            yield Finding("range", f"{len(dark)} of {len(there)} {half}s, as in {dark[0].name}.", [(dark[0], half)])
        gray_share[half] = len(gray) / max(len(there) - len(flat), 1)
        # If most have one color they may be meant so, as masks are; if most are gray, the others are the exception.
        for kind, odd, most in (("one color", flat, len(there)), ("gray", gray, len(there) - len(flat))):
            for item in odd if len(odd) <= most / 2 else []:
                yield Finding(kind, f"{item.name}: {half}.", [(item, half)])
    if gray_share.keys() == {"target"} and gray_share["target"] > 0.5:
        yield Finding("gray", f"{gray_share['target']:.0%} of the images.")
    if len(facts) >= FEW and gray_share.get("target", 0) >= MOST and gray_share.get("input", 1) <= 1 - MOST:
        text = f"{gray_share['target']:.0%} of the targets are gray, {gray_share['input']:.0%} of the inputs."
        yield Finding("direction", text)
