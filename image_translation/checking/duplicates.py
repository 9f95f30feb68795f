"""The same image more than once: exactly, nearly or flipped."""

import itertools
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
    for flipped in (0, 1):
        first, second = near_hashes(hashes[:, 0], hashes[:, flipped], NEAR_BITS)
        for start in range(0, len(first), 1024):
            a, b = first[start : start + 1024], second[start : start + 1024]
            alike = a < b
            for look in looks:
                own = look[a, :, ::-1] if flipped else look[a]
                alike &= (own * look[b]).sum(axis=(1, 2, 3)) >= NEAR_LOOK
            yield from zip(a[alike].tolist(), b[alike].tolist(), strict=True)


def near_hashes(
    one: NDArray[np.uint64], other: NDArray[np.uint64], bits: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where two hashes differ in at most so many of their 64 bits: their indices in ``one`` and in ``other``.

    Of four parts with 16 bits one differs in at most a quarter of the ``bits``: those that agree so far in a part are
    found in a sorted list, and only they are compared (multi-index hashing, Norouzi et al. 2012).
    """
    flips = [sum(1 << bit for bit in chosen) for count in range(bits // 4 + 1)
             for chosen in itertools.combinations(range(16), count)]  # fmt: skip
    found = []
    for shift in range(0, 64, 16):
        mine, theirs = (((hashes >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64) for hashes in (one, other))
        order = np.argsort(theirs, kind="stable")
        bounds = np.searchsorted(theirs[order], np.arange(2**16 + 1))
        for flip in flips:
            starts, ends = bounds[mine ^ flip], bounds[(mine ^ flip) + 1]
            counts = ends - starts
            a = np.repeat(np.arange(len(one)), counts)
            b = order[np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts) + np.repeat(starts, counts)]
            near = np.bitwise_count(one[a] ^ other[b]) <= bits
            found.append(a[near] * len(other) + b[near])  # one number for both: sorted far faster than rows
    first, second = np.divmod(np.unique(np.concatenate(found)), len(other))
    return first, second


def _distinctive(maps: NDArray[Any]) -> Array:
    """(N, H, W, C): each image less what all have in common, standardized.

    A common outline, as heads have, does not make two of them the same image.
    """
    rows = standardize(maps, (1, 2, 3))
    usual = rows.mean(axis=0) if len(rows) >= FEW else np.zeros_like(rows[0])
    return standardize(rows - (usual + usual[:, ::-1]) / 2, (1, 2, 3))
