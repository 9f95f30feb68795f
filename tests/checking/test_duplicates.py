"""The index over hashes finds what comparing all with all finds."""

import numpy as np
import pytest

from image_translation.checking.duplicates import near_hashes


@pytest.mark.parametrize("bits", [0, 3, 10, 11])
def test_near_hashes_are_those_of_a_full_comparison(bits: int) -> None:
    rng = np.random.default_rng(bits)
    one = rng.integers(0, 2**64, 400, dtype=np.uint64)
    other = rng.permutation(one).copy()
    for number in range(0, 400, 2):  # half of them nearly the same: up to 14 bits flipped, anywhere
        for bit in rng.choice(64, number % 15, replace=False):
            other[number] ^= np.uint64(1) << np.uint64(bit)
    expected = np.argwhere(np.bitwise_count(one[:, None] ^ other[None]) <= bits)
    found = np.stack(near_hashes(one, other, bits), axis=1)
    assert np.array_equal(found, expected)
    assert 200 <= len(found) < 400


def test_no_hash_is_near_another() -> None:
    hashes = np.array([0, 2**64 - 1], np.uint64)
    first, second = near_hashes(hashes[:1], hashes[1:], 10)
    assert len(first) == len(second) == 0
