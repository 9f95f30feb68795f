"""The same image more than once: exactly, nearly or flipped."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from image_translation.checking.facts import FEW, Facts, Half
from image_translation.checking.findings import Finding

NEAR_BITS = 10  # of 64, from which different images begin to differ
NEAR_LOOK = 0.75  # what else must agree: the correlation of what the two have of their own, colors and contours
NAMED = 12  # of a group that is too large to name


def duplicates(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Groups of pairs that share a image, exactly, nearly or flipped."""
    groups: dict[tuple[int, ...], list[tuple[int, bool]]] = defaultdict(list)
    group_of: dict[str, dict[int, int]] = {"input": {}, "target": {}}  # each pair's, of those alike in this half
    for half in ("input", "target"):
        there = [i for i, item in enumerate(facts) if half in item.halves and item.halves[half].digest]
        for group, distance, flipped in _near([facts[i].halves[half] for i in there]):
            numbers = tuple(sorted(there[member] for member in group))
            groups[numbers].append((distance, flipped))
            group_of[half] |= dict.fromkeys(numbers, numbers[0])
    for numbers, shared in groups.items():
        members = [facts[number] for number in numbers]
        labels = {half: {group.get(number) for number in numbers} for half, group in group_of.items()}
        halves = [half for half, there in labels.items() if len(there) == 1 and None not in there]
        kind = _kind_of(members, halves)
        if not kind:
            continue
        distance, flipped = max(distance for distance, _ in shared), any(hflip for _, hflip in shared)
        how = f"nearly the same (distance {distance} of 64)" if distance else "the same"
        names = ", ".join(member.name for member in members[:NAMED])
        names += f" and {len(members) - NAMED} more" * (len(members) > NAMED)
        yield Finding(
            kind,
            f"{names}: {' and '.join(halves)} {how}{', flipped' if flipped else ''}.",
            [file for member in members for file in member.pair.files],
            [(f"{member.name} {half}", member.name, half) for member in members for half in halves],
        )
    for item in facts:
        digests = [half.digest for half in item.halves.values()]
        if len(digests) == 2 and digests[0] and digests[0] == digests[1]:
            yield Finding("same halves", f"{item.name}", item.pair.files, [(item.name, item.name, "input")])


def _kind_of(members: Sequence[Facts], halves: Sequence[str]) -> str | None:
    """What it is called when several pairs have these halves alike; None if nothing is wrong with that."""
    in_two_splits = len({member.split for member in members}) > 1
    if len(halves) == len(members[0].halves):
        return "leak" if in_two_splits else "twice"
    if halves == ["target"]:  # of many inputs, as masks may be
        return "same target" if in_two_splits else None
    # Inputs with targets of their own: the very same photo was copied, but masks and maps may well be alike.
    splits: dict[str | None, list[str]] = defaultdict(list)
    for member in members:
        if not member.halves["input"].is_drawn:
            splits[member.halves["input"].digest].append(member.split)
    if any(len(set(there)) > 1 for there in splits.values()):
        return "leak"
    if in_two_splits:
        return "same input"
    return "twice" if any(len(there) > 1 for there in splits.values()) else None


def _near(halves: Sequence[Half]) -> Iterator[tuple[list[int], int, bool]]:
    """Groups of the same or nearly the same image: their numbers, the largest distance, and if one is flipped."""
    same: dict[str | None, list[int]] = defaultdict(list)
    for number, half in enumerate(halves):
        same[half.digest].append(number)
    if not same:
        return
    groups = list(same.values())
    firsts = [halves[group[0]] for group in groups]
    edges = np.concatenate([_look_alike(firsts, hflip) for hflip in (0, 1)])
    _, labels = connected_components(
        coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(groups),) * 2), directed=False
    )
    members: dict[int, list[int]] = defaultdict(list)
    for group, label in zip(groups, labels, strict=True):
        members[int(label)] += group
    # Of each group the largest distance, and whether two are alike only with one of them flipped.
    a, b, distance, hflip = edges.T
    farthest, flipped = np.zeros(len(groups), np.int64), np.zeros(len(groups), bool)
    np.maximum.at(farthest, labels[a], distance)
    only = (hflip == 1) & ~np.isin(a * len(groups) + b, (a * len(groups) + b)[hflip == 0])
    flipped[labels[a[only]]] = True
    for label, numbers in members.items():
        if len(numbers) > 1:
            yield sorted(numbers), int(farthest[label]), bool(flipped[label])


def _look_alike(halves: Sequence[Half], hflip: int) -> NDArray[np.int64]:
    """(pairs, 4): two numbers, the distance of their hashes and ``hflip``, of images that are nearly the same.

    Hashes, colors and contours agree; those of the second image flipped, if ``hflip`` is 1.
    """
    step = -1 if hflip else 1
    hashes = np.array([half.hashes for half in halves], np.uint64)
    looks = [
        _own(np.stack([half.thumb for half in halves])),
        _own(np.stack([half.contours for half in halves])[..., None]),
    ]
    found = []
    for start in range(0, len(halves), 512):  # all against all, in parts
        differing = np.bitwise_count(hashes[start : start + 512, None, 0] ^ hashes[None, :, hflip])
        for part in np.array_split(np.argwhere(differing <= NEAR_BITS), max(1, differing.size // 2**20)):
            a, b = part[:, 0] + start, part[:, 1]
            keep = a < b
            for look in looks:
                keep[keep] = (look[a[keep]] * look[b[keep], :, ::step]).sum(axis=(1, 2, 3)) >= NEAR_LOOK
            distance = np.maximum(differing[part[:, 0], b], 1)
            found.append(np.stack([a, b, distance, np.full(len(a), hflip)], axis=1)[keep].astype(np.int64))
    return np.concatenate(found)


def _own(maps: NDArray[Any]) -> NDArray[np.float32]:
    """(N, H, W, C): what each image has of its own, of length 1, so that the product of two is their correlation.

    What all have in common, as heads have their outline, is taken away: it makes no two of them the same image.
    """
    rows = _unit(maps - maps.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float32))
    if len(rows) < FEW:
        return rows
    usual = rows.mean(axis=0)
    return _unit(rows - (usual + usual[:, ::-1]) / 2)


def _unit(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.sqrt((maps**2).sum(axis=(1, 2, 3), keepdims=True))
    result: NDArray[np.float32] = maps / np.maximum(length, np.float32(1e-6))
    return result
