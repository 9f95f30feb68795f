"""From the facts of each pair to what is wrong with the whole set.

The bounds were chosen on the real pairs of the three tasks, as they are and with faults planted (docs/data.md).
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from image_translation.checking.facts import Facts, Half
from image_translation.checking.findings import Finding

NEAR_BITS = 10  # of 64, from which different pictures begin to differ
NEAR_COLOURS, NEAR_CONTOURS = 0.9, 0.8  # what must agree as well
MIRROR_GAIN = 0.05
SHIFT_GAIN, SHIFT_FOUND, SHIFT_LEAST = 0.1, 0.3, 2.0  # in agreement, after the shift, in pixels
PARTNER_GAIN = 0.15
OUTLIER = 6.0  # in standard deviations, estimated from the median deviation
FEW = 8  # pairs; from fewer nothing is concluded about what is usual
LITTLE = 0.2  # agreement; where no more is usual, halves need not lie on each other
CLEAR = 0.4  # agreement that is no chance, whatever is usual
NAMED = 12  # of a group that is too large to name
MOST = 0.9  # of the pictures
Agreement = Callable[[Facts, Facts], float]


def judge(facts: Sequence[Facts], agreement: Agreement) -> list[Finding]:
    """All findings about pairs that can be decoded, and those that can't.

    Args:
        facts: of every pair.
        agreement: that of one pair's input with another pair's target, in full.
    """
    found = [Finding("unusable", problem, item.pair.files) for item in facts for problem in item.problems]
    sound = [item for item in facts if item.halves]
    return found + list(duplicates(sound)) + list(geometry(sound, agreement)) + list(colours(sound))


# The same picture more than once


def duplicates(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Groups of pairs that share a picture, exactly, nearly or mirrored."""
    groups: dict[tuple[int, ...], list[tuple[str, int, bool]]] = defaultdict(list)
    for half in ("input", "target"):
        there = [i for i, item in enumerate(facts) if half in item.halves and item.halves[half].digest]
        for group, distance, mirrored in _near([facts[i].halves[half] for i in there]):
            groups[tuple(sorted(there[member] for member in group))].append((half, distance, mirrored))
    for numbers, shared in groups.items():
        members = [facts[number] for number in numbers]
        leak = len({member.split for member in members}) > 1
        halves = " and ".join(half for half, *_ in shared)
        distance, mirrored = max(distance for _, distance, _ in shared), any(mirror for *_, mirror in shared)
        how = f"nearly the same (distance {distance} of 64)" if distance else "the same"
        names = ", ".join(member.name for member in members[:NAMED])
        names += f" and {len(members) - NAMED} more" * (len(members) > NAMED)
        if halves == "target" and "input" in members[0].halves:  # one target of many inputs may be meant so: masks
            if not leak:
                continue
            kind = "same target"
        else:
            kind = "leak" if leak else "twice"
        yield Finding(
            kind,
            f"{names}: {halves} {how}{', mirrored' if mirrored else ''}.",
            [file for member in members for file in member.pair.files],
            [(f"{member.name} {half}", member.name, half) for member in members for half, *_ in shared],
        )
    for item in facts:
        digests = [half.digest for half in item.halves.values()]
        if len(digests) == 2 and digests[0] and digests[0] == digests[1]:
            yield Finding("same halves", f"{item.name}", item.pair.files, [(item.name, item.name, "input")])


def _near(halves: Sequence[Half]) -> Iterator[tuple[list[int], int, bool]]:
    """Groups of the same or nearly the same picture: their numbers, the largest distance, and if one is mirrored."""
    same: dict[str | None, list[int]] = defaultdict(list)
    for number, half in enumerate(halves):
        same[half.digest].append(number)
    if not same:
        return
    groups = list(same.values())
    firsts = [halves[group[0]] for group in groups]
    edges = np.concatenate([_look_alike(firsts, mirror) for mirror in (0, 1)])
    _, labels = connected_components(
        coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(groups),) * 2), directed=False
    )
    members: dict[int, list[int]] = defaultdict(list)
    for group, label in zip(groups, labels, strict=True):
        members[int(label)] += group
    # Of each group the largest distance, and whether two are alike only with one of them mirrored.
    a, b, distance, mirror = edges.T
    farthest, mirrored = np.zeros(len(groups), np.int64), np.zeros(len(groups), bool)
    np.maximum.at(farthest, labels[a], distance)
    only = (mirror == 1) & ~np.isin(a * len(groups) + b, (a * len(groups) + b)[mirror == 0])
    mirrored[labels[a[only]]] = True
    for label, numbers in members.items():
        if len(numbers) > 1:
            yield sorted(numbers), int(farthest[label]), bool(mirrored[label])


def _look_alike(halves: Sequence[Half], mirror: int) -> NDArray[np.int64]:
    """(pairs, 4): two numbers, the distance of their hashes and ``mirror``, of pictures that are nearly the same.

    Hashes, colours and contours agree; those of the second picture mirrored, if ``mirror`` is 1.
    """
    step = -1 if mirror else 1
    hashes = np.array([half.hashes for half in halves], np.uint64)
    looks = [
        (_unit([half.thumb for half in halves]), _unit([half.thumb[:, ::step] for half in halves]), NEAR_COLOURS),
        (
            _unit([half.contours for half in halves]),
            _unit([half.contours[:, ::step] for half in halves]),
            NEAR_CONTOURS,
        ),
    ]
    found = []
    for start in range(0, len(halves), 512):  # all against all, in parts
        differing = np.bitwise_count(hashes[start : start + 512, None, 0] ^ hashes[None, :, mirror])
        for part in np.array_split(np.argwhere(differing <= NEAR_BITS), max(1, differing.size // 2**20)):
            a, b = part[:, 0] + start, part[:, 1]
            keep = a < b
            for first, second, least in looks:
                keep[keep] = (first[a[keep]] * second[b[keep]]).sum(axis=1) >= least
            distance = np.maximum(differing[part[:, 0], b], 1)
            found.append(np.stack([a, b, distance, np.full(len(a), mirror)], axis=1)[keep].astype(np.int64))
    return np.concatenate(found)


def _unit(maps: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
    """(N, values), each row of mean 0 and length 1, so that the product of two is their correlation."""
    rows = np.stack(maps).reshape(len(maps), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return rows


# Halves that don't lie on each other


def geometry(facts: Sequence[Facts], agreement: Agreement) -> Iterator[Finding]:
    """Pairs that are mirrored, shifted, or not a pair, where the others' halves show that they should agree."""
    pairs = [item for item in facts if len(item.halves) == 2 and all(half.digest for half in item.halves.values())]
    if len(pairs) < FEW:
        return
    best = np.array([max(item.agreement, item.mirrored, item.shifted) for item in pairs])
    usual, spread = float(np.median(best)), float(1.4826 * np.median(np.abs(best - np.median(best)))) + 1e-3
    partners = dict(_partners(pairs, agreement, usual))
    if usual < LITTLE and not partners:
        yield Finding("unrelated", f"An agreement of {usual:.2f} is usual here, so each pair's could not be judged.")
        return
    enough = usual / 2  # after mending
    for number, item in enumerate(pairs):
        picture = [(f"{item.name} {half}", item.name, half) for half in ("input", "target")]
        right, down = item.shift
        if item.mirrored > max(item.agreement + MIRROR_GAIN, enough) and number not in partners:
            text = f"{item.name}: agreement {item.mirrored:.2f} mirrored, {item.agreement:.2f} as it is."
            yield Finding("mirrored", text, item.pair.files, picture)
        elif (
            item.shifted > max(item.agreement + SHIFT_GAIN, enough, SHIFT_FOUND)
            and max(abs(right), abs(down)) >= SHIFT_LEAST
            and number not in partners
        ):
            where = [f"{abs(right):.0f} pixels {'right' if right > 0 else 'left'}"] if round(right) else []
            where += [f"{abs(down):.0f} pixels {'down' if down > 0 else 'up'}"] if round(down) else []
            text = f"{item.name}: the target lies {' and '.join(where)} of the input."
            yield Finding("shifted", text, item.pair.files, picture)
        elif number in partners:
            other, there = partners[number]
            fits = f"agreement {there:.2f} with the target of {other.name}, {item.agreement:.2f} with its own"
            shown = [*picture, (f"{other.name} target", other.name, "target")]
            yield Finding("wrong partner", f"{item.name}: {fits}.", item.pair.files, shown)
        elif item.agreement < usual - OUTLIER * spread:
            text = f"{item.name}: agreement {item.agreement:.2f}; {usual:.2f} is usual here."
            yield Finding("little in common", text, item.pair.files, picture)


def _partners(pairs: Sequence[Facts], agreement: Agreement, usual: float) -> Iterator[tuple[int, tuple[Facts, float]]]:
    """Pairs whose input fits another pair's target as well as inputs usually fit, and its own much less."""
    inputs, targets = (np.stack([item.halves[half].contours.ravel() for item in pairs]) for half in ("input", "target"))
    enough = float(np.percentile([item.agreement for item in pairs], 10)) if usual >= CLEAR else CLEAR
    for start in range(0, len(pairs), 512):
        fits = inputs[start : start + 512] @ targets.T
        for row, best in enumerate(fits.argmax(axis=1)):
            number = start + row
            if int(best) == number:
                continue
            item, other = pairs[number], pairs[int(best)]
            as_it_is = max(item.agreement, item.mirrored, item.shifted)
            there = agreement(item, other)
            if there > as_it_is + PARTNER_GAIN and there >= enough:
                yield number, (other, there)


# Colours


def colours(facts: Sequence[Facts]) -> Iterator[Finding]:
    """Pictures of one colour, grey ones among coloured ones, and directions that look swapped."""
    halves = sorted({half for item in facts for half in item.halves})
    share = {}
    for half in halves:
        there = [item for item in facts if half in item.halves]
        flat = [item for item in there if item.halves[half].digest is None]
        grey = [item for item in there if item.halves[half].is_grey and item.halves[half].digest]
        share[half] = len(grey) / max(len(there) - len(flat), 1)
        if len(flat) <= len(there) / 2:  # else they may be meant so: masks
            yield from (_of_one("one colour", item, half) for item in flat)
        if share[half] <= 0.5:
            yield from (_of_one("grey", item, half) for item in grey)
        elif len(halves) == 1:
            yield Finding("grey", f"{len(grey)} of {len(there)} pictures, which is most of them.")
    if len(facts) >= FEW and share.get("target", 0) >= MOST and share.get("input", 1) <= 1 - MOST:
        yield Finding(
            "direction", f"{share['target']:.0%} of the targets are grey, {share['input']:.0%} of the inputs."
        )


def _of_one(kind: str, item: Facts, half: str) -> Finding:
    file = item.pair.input if half == "input" and item.pair.input else item.pair.target
    return Finding(kind, f"{item.name}: {half}.", [file], [(f"{item.name} {half}", item.name, half)])
