"""From the facts of each pair to what is wrong with the whole set.

The bounds were chosen on the real pairs of the three tasks, as they are and with faults planted (docs/data.md).
"""

from collections.abc import Callable, Iterator, Sequence, Sized

import numpy as np

from image_translation.checking.duplicates import duplicates
from image_translation.checking.facts import FEW, Facts
from image_translation.checking.findings import Finding

MIRROR_GAIN = 0.05
SHIFT_GAIN, SHIFT_FOUND, SHIFT_LEAST = 0.1, 0.3, 2.0  # in agreement, after the shift, in pixels
PARTNER_GAIN = 0.15
PARTNER_ALIKE = 0.7  # of the two inputs' contours: from there on fitting the other's target says nothing
EQUAL = 0.1  # of the contours: halves that are the same there lie on each other, whatever the rest is
FEW_PAIRS = 0.05  # of the set, of which the contours may mislead
OUTLIER = 6.0  # in standard deviations, estimated from the median deviation
LITTLE = 0.2  # agreement; where no more is usual, halves need not lie on each other
CLEAR = 0.4  # agreement that is no chance, whatever is usual
MOST = 0.9  # of the images
Agreement = Callable[[Facts, Facts], float]


def judge(facts: Sequence[Facts], agreement: Agreement) -> list[Finding]:
    """All findings about pairs that can be decoded, and those that can't.

    Args:
        facts: of every pair.
        agreement: that of one pair's input with another pair's target, in full.
    """
    found = [Finding("unusable", problem, item.pair.files) for item in facts for problem in item.problems]
    sound = [item for item in facts if item.halves]
    return found + list(duplicates(sound)) + list(geometry(sound, agreement)) + list(colors(sound))


# Halves that don't lie on each other


def geometry(facts: Sequence[Facts], agreement: Agreement) -> Iterator[Finding]:
    """Pairs that are flipped, shifted, or not a pair, where the others' halves show that they should agree."""
    pairs = [item for item in facts if len(item.halves) == 2 and all(half.digest for half in item.halves.values())]
    if len(pairs) < FEW:
        return
    best = np.array([max(item.agreement, item.flipped, item.shifted) for item in pairs])
    usual, spread = float(np.median(best)), float(1.4826 * np.median(np.abs(best - np.median(best)))) + 1e-3
    partners = dict(_partners(pairs, agreement, usual))
    if usual < LITTLE and not partners:
        yield Finding("unrelated", f"An agreement of {usual:.2f} is usual here, so each pair's could not be judged.")
        return
    enough = usual / 2  # after mending
    shifted = [number for number, item in enumerate(pairs) if number not in partners and _is_shifted(item, enough)]
    for number, item in enumerate(pairs):
        if item.equal >= EQUAL:
            continue
        image = [(f"{item.name} {half}", item.name, half) for half in ("input", "target")]
        if number in partners:
            partner, there = partners[number]
            other = pairs[partner]
            exchanged = partner in partners and partners[partner][0] == number
            kind = "wrong partner" if exchanged or _many(partners, pairs) else "perhaps wrong partner"
            fits = f"agreement {there:.2f} with the target of {other.name}, {item.agreement:.2f} with its own"
            shown = [*image, (f"{other.name} target", other.name, "target")]
            yield Finding(kind, f"{item.name}: {fits}.", item.pair.files, shown)
        elif item.flipped > max(item.agreement + MIRROR_GAIN, enough):
            text = f"{item.name}: agreement {item.flipped:.2f} flipped, {item.agreement:.2f} as it is."
            yield Finding("flipped", text, item.pair.files, image)
        elif number in shifted:
            right, down = item.shift
            where = [f"{abs(right):.0f} pixels {'right' if right > 0 else 'left'}"] if round(right) else []
            where += [f"{abs(down):.0f} pixels {'down' if down > 0 else 'up'}"] if round(down) else []
            text = f"{item.name}: the target lies {' and '.join(where)} of the input."
            kind = "shifted" if _many(shifted, pairs) else "perhaps shifted"
            yield Finding(kind, text, item.pair.files, image)
        elif item.agreement < usual - OUTLIER * spread:
            text = f"{item.name}: agreement {item.agreement:.2f}; {usual:.2f} is usual here."
            yield Finding("little in common", text, item.pair.files, image)


def _is_shifted(item: Facts, enough: float) -> bool:
    return (
        item.equal < EQUAL
        and item.flipped <= max(item.agreement + MIRROR_GAIN, enough)
        and item.shifted > max(item.agreement + SHIFT_GAIN, enough, SHIFT_FOUND)
        and max(map(abs, item.shift)) >= SHIFT_LEAST
    )


def _many(found: Sized, pairs: Sized) -> bool:
    """Whether so many pairs are found that it is no chance."""
    return len(found) > 1 and len(found) >= FEW_PAIRS * len(pairs)


def _partners(pairs: Sequence[Facts], agreement: Agreement, usual: float) -> Iterator[tuple[int, tuple[int, float]]]:
    """Pairs whose input fits another pair's target as well as inputs usually fit, and its own much less."""
    inputs, targets = (np.stack([item.halves[half].contours.ravel() for item in pairs]) for half in ("input", "target"))
    enough = float(np.percentile([item.agreement for item in pairs], 10)) if usual >= CLEAR else CLEAR
    for start in range(0, len(pairs), 512):
        fits = inputs[start : start + 512] @ targets.T
        for row, best in enumerate(fits.argmax(axis=1)):
            number = start + row
            if int(best) == number or pairs[number].equal >= EQUAL:
                continue
            item, other = pairs[number], pairs[int(best)]
            as_it_is = max(item.agreement, item.flipped, item.shifted)
            there = agreement(item, other)
            alike = float(inputs[number] @ inputs[int(best)]) >= PARTNER_ALIKE
            if there > as_it_is + PARTNER_GAIN and there >= enough and not alike:
                yield number, (int(best), there)


# Colors


def colors(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Images of one color, gray ones among colored ones, and directions that look swapped."""
    halves = sorted({half for item in facts for half in item.halves})
    share = {}
    for half in halves:
        there = [item for item in facts if half in item.halves]
        flat = [item for item in there if item.halves[half].digest is None]
        gray = [item for item in there if item.halves[half].is_grey and item.halves[half].digest]
        share[half] = len(gray) / max(len(there) - len(flat), 1)
        if len(flat) <= len(there) / 2:  # else they may be meant so: masks
            yield from (_of_one("one color", item, half) for item in flat)
        if share[half] <= 0.5:
            yield from (_of_one("gray", item, half) for item in gray)
        elif len(halves) == 1:
            yield Finding("gray", f"{len(gray)} of {len(there)} images, which is most of them.")
    if len(facts) >= FEW and share.get("target", 0) >= MOST and share.get("input", 1) <= 1 - MOST:
        yield Finding(
            "direction", f"{share['target']:.0%} of the targets are gray, {share['input']:.0%} of the inputs."
        )


def _of_one(kind: str, item: Facts, half: str) -> Finding:
    file = item.pair.files[0 if half == "input" else -1]
    return Finding(kind, f"{item.name}: {half}.", [file], [(f"{item.name} {half}", item.name, half)])
