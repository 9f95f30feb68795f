"""The same image more than once: exactly, nearly or flipped."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet

from image_translation.checking.facts import FEW, Array, Facts, Half, standardize
from image_translation.checking.findings import Finding

NEAR_BITS = 10  # of 64; different images differ in more
NEAR_LOOK = 0.75  # the least correlation of colors and of edges
NAMED = 12  # of a larger group the first are named


def find_duplicates(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Groups of pairs that share an image, and pairs with the same image as input and target."""
    groups = {half: dict(_near(facts, half)) for half in ("input", "target")}
    for group in groups["input"] | groups["target"]:
        pairs = [facts[number] for number in sorted(group)]
        halves = [half for half, others in groups.items() if any(group <= other for other in others)]
        distance, flipped = np.max([groups[half][group] for half in halves if group in groups[half]], axis=0)
        names = ", ".join(pair.name for pair in pairs[:NAMED])
        names += f" and {len(pairs) - NAMED} more" * (len(pairs) > NAMED)
        same = f"nearly the same (distance {distance} of 64)" if distance else "the same"
        if kind := _kind_of(pairs, halves):
            text = f"{names}: {' and '.join(halves)} {same}{', flipped' * flipped}."
            files = [file for pair in pairs for file in pair.pair.files]
            yield Finding(kind, text, files, [(pair, half) for pair in pairs for half in halves])
    for item in facts:
        digests = {half.digest for half in item.halves.values()}
        if len(item.halves) == 2 and len(digests) == 1 and None not in digests:
            yield Finding("input is target", f"{item.name}.", item.pair.files, [(item, "input")])


def _kind_of(pairs: Sequence[Facts], halves: Sequence[str]) -> str | None:
    """The kind of finding if several pairs have these halves alike; None if nothing is wrong with that."""
    in_two_splits = len({pair.split for pair in pairs}) > 1
    if len(halves) == len(pairs[0].halves):
        return "leakage" if in_two_splits else "duplicate"
    # Only one half is alike. A photo with another target is a copy too, but masks and label maps may well be alike.
    images = [(pair.halves["input"], pair.split) for pair in pairs if halves == ["input"]]
    photos = [(image.digest, split) for image, split in images if not image.is_drawn]
    digests = {digest for digest, _ in photos}
    if len(set(photos)) > len(digests):
        return "leakage"
    if in_two_splits:
        return f"same {halves[0]}"
    return "duplicate" if len(photos) > len(digests) else None


def _near(facts: Sequence[Facts], half: str) -> Iterator[tuple[frozenset[int], tuple[int, int]]]:
    """Groups of pairs with nearly the same image, each with the largest distance and 1 if some are flipped."""
    same: dict[str, list[int]] = defaultdict(list)
    for number, item in enumerate(facts):
        if half in item.halves and (digest := item.halves[half].digest):
            same[digest].append(number)
    copies = list(same.values())
    sets = DisjointSet(range(len(copies)))
    most = np.zeros((len(copies), 2), int)  # distance, flipped
    for a, b, *how in _links([facts[numbers[0]].halves[half] for numbers in copies]):
        sets.merge(a, b)
        most[a] = np.maximum(most[a], how)
    for subset in sets.subsets():
        group = frozenset(number for index in subset for number in copies[index])
        if len(group) > 1:
            yield group, tuple(most[list(subset)].max(axis=0).tolist())


def _links(halves: Sequence[Half]) -> Iterator[tuple[int, int, int, int]]:
    """Two images whose hashes, colors and edges agree: their numbers, their distance, and 1 if one is flipped."""
    if not halves:
        return
    hashes = np.array([half.hashes for half in halves], np.uint64)
    looks = [_distinctive(np.stack([half.thumb for half in halves])),
             _distinctive(np.stack([half.edges for half in halves])[..., None])]  # fmt: skip
    for number in range(len(halves)):
        seen: set[int] = set()
        for flipped in (0, 1):
            distances = np.bitwise_count(hashes[number, 0] ^ hashes[:, flipped])
            near = np.flatnonzero((distances <= NEAR_BITS) & (np.arange(len(halves)) > number))
            for look in looks:
                own = look[number, :, ::-1] if flipped else look[number]
                near = near[np.tensordot(look[near], own, 3) >= NEAR_LOOK]
            for other in set(near.tolist()) - seen:
                yield number, other, max(int(distances[other]), 1), flipped
            seen.update(near.tolist())


def _distinctive(maps: NDArray[Any]) -> Array:
    """(N, H, W, C): each image less what all have in common, standardized.

    A common outline, as heads have, does not make two of them the same image.
    """
    rows = standardize(maps, (1, 2, 3))
    usual = rows.mean(axis=0) if len(rows) >= FEW else np.zeros_like(rows[0])
    return standardize(rows - (usual + usual[:, ::-1]) / 2, (1, 2, 3))
