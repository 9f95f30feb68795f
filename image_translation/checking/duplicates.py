"""The same image more than once: exactly, nearly or flipped."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import DisjointSet

from image_translation.checking.facts import FEW, Array, Facts, Half, standardize
from image_translation.checking.findings import Finding

NEAR_BITS = 10  # of 64; different images differ in more
NEAR_LOOK = 0.75  # the least correlation of colors and of edges


def find_duplicates(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Groups of pairs that share an image, and pairs with the same image as input and target."""
    groups = {half: _groups(facts, half) for half in ("input", "target")}
    for group in dict.fromkeys(groups["input"] + groups["target"]):
        pairs = [facts[number] for number in sorted(group)]
        halves = [half for half, others in groups.items() if any(group <= other for other in others)]
        if kind := _kind_of(pairs, halves):
            names = ", ".join(pair.name for pair in pairs)
            exact = all(len({pair.halves[half].digest for pair in pairs}) == 1 for half in halves)
            text = f"{names}: {' and '.join(halves)} {'the same' if exact else 'nearly the same, or flipped'}."
            yield Finding(kind, text, [(pair, half) for pair in pairs for half in halves])
    for item in facts:
        digest, *others = [half.digest for half in item.halves.values()]
        if digest and others == [digest]:
            yield Finding("input is target", f"{item.name}.", [(item, "input")])


def _kind_of(pairs: Sequence[Facts], halves: Sequence[str]) -> str | None:
    """The kind of finding if several pairs have these halves alike; None if nothing is wrong with that."""
    in_two_splits = len({pair.split for pair in pairs}) > 1
    # A photo with another target is a copy too, but masks and label maps may well be alike.
    inputs = [pair.halves["input"] for pair in pairs if halves == ["input"]]
    photos = [image.digest for image in inputs if not image.is_drawn]
    if len(halves) == len(pairs[0].halves) or len(set(photos)) < len(photos):
        return "leakage" if in_two_splits else "duplicate"
    return f"same {halves[0]}" if in_two_splits else None


def _groups(facts: Sequence[Facts], half: str) -> list[frozenset[int]]:
    """The numbers of the pairs with nearly the same image."""
    sets, first = DisjointSet(), dict[str, int]()
    for number, item in enumerate(facts):
        if half in item.halves and (digest := item.halves[half].digest):
            sets.add(number)
            sets.merge(number, first.setdefault(digest, number))
    different = list(first.values())
    for a, b in _near([facts[number].halves[half] for number in different]) if different else ():
        sets.merge(different[a], different[b])
    return [frozenset(group) for group in sets.subsets() if len(group) > 1]


def _near(halves: Sequence[Half]) -> Iterator[tuple[int, int]]:
    """Two images whose hashes, colors and edges agree, as they are or flipped."""
    hashes = np.array([half.hashes for half in halves], np.uint64)
    looks = [_distinctive(np.stack([half.thumb for half in halves])),
             _distinctive(np.stack([half.edges for half in halves])[..., None])]  # fmt: skip
    for number in range(len(halves)):
        for flipped in (0, 1):
            distances = np.bitwise_count(hashes[number, 0] ^ hashes[:, flipped])
            near = np.flatnonzero((distances <= NEAR_BITS) & (np.arange(len(halves)) > number))
            for look in looks:
                own = look[number, :, ::-1] if flipped else look[number]
                near = near[np.tensordot(look[near], own, 3) >= NEAR_LOOK]
            yield from ((number, other) for other in near.tolist())


def _distinctive(maps: NDArray[Any]) -> Array:
    """(N, H, W, C): each image less what all have in common, standardized.

    A common outline, as heads have, does not make two of them the same image.
    """
    rows = standardize(maps, (1, 2, 3))
    usual = rows.mean(axis=0) if len(rows) >= FEW else np.zeros_like(rows[0])
    return standardize(rows - (usual + usual[:, ::-1]) / 2, (1, 2, 3))
