"""A file that a model of other kinds than color photos can't take is named, and the others are done."""

from pathlib import Path

import numpy as np

from image_translation.data.kinds import Kind
from image_translation.inference.files import read_job
from image_translation.inference.planning import Job


def test_raw_files_with_other_channels_are_named(tmp_path: Path) -> None:
    kind = Kind("raw", stored=5, dtype="float32", low=0.0, high=1.0)
    for channels in (5, 3):
        np.save(tmp_path / f"{channels}.npy", np.zeros((16, 16, channels), np.float32))

    taken, refused = (read_job(Job(tmp_path / f"{n}.npy", tmp_path / "out.npy"), kind, "white") for n in (5, 3))
    assert not isinstance(taken, str)
    assert taken.pixels.shape == (16, 16, 5)
    assert refused == f"{tmp_path / '3.npy'}: has 3 channels; the model takes 5."
