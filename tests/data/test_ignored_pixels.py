"""Pixels of masks that are of no class, against numpy on the others."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import SIZE, comic_of, image
from helpers.training import fit, make_data
from PIL import Image

from image_translation.data.kinds import Kind, make_kind, to_image, to_shown
from image_translation.data.transforms import from_float, random_crop, to_float, to_stored
from image_translation.losses.classes import cross_entropy
from image_translation.metrics.image_scores import ImageScores
from image_translation.models import UNetAutoencoder

KIND = make_kind("target", "mask", 3, None, None, ignore=255)
STORED = torch.tensor([[0, 1, 2, 255], [255, 255, 1, 0]], dtype=torch.uint8)[None, None]
LABELED = STORED != 255


def test_they_are_no_class_and_come_back_of_targets_only() -> None:
    floats = to_float(STORED, KIND)
    assert torch.equal((floats == 1).sum(1, keepdim=True), LABELED.long())
    assert set(floats.unique().tolist()) == {-1, 1}
    assert torch.equal(from_float(floats, KIND), STORED)
    assert torch.equal(to_stored(floats, KIND), STORED.where(LABELED, 0))
    assert to_stored(torch.full((1, 3, 2, 4), -1.0), KIND).max() < 3
    (cropped,) = random_crop(STORED, size=(2, 4), hflip=False, kinds=[KIND])
    assert torch.equal(cropped, floats)


def test_they_are_shown_and_saved_as_white(tmp_path: Path) -> None:
    is_white = (to_shown(STORED, KIND) == 255).all(1, keepdim=True)
    assert torch.equal(is_white, ~LABELED)
    to_image(STORED[0].permute(1, 2, 0).numpy(), KIND).save(tmp_path / "it.png")
    with Image.open(tmp_path / "it.png") as saved:
        assert np.array_equal(np.asarray(saved), STORED[0, 0])
        assert np.array_equal(np.asarray(saved.convert("RGB")), to_shown(STORED, KIND)[0].permute(1, 2, 0))


def test_a_description_from_before_there_were_such_pixels() -> None:
    old = {key: value for key, value in KIND.describe().items() if key != "ignore"}
    assert Kind.of(old) == make_kind("target", "mask", 3, None, None)
    assert Kind.of(KIND.describe()) == KIND


def test_nothing_is_learned_from_them() -> None:
    output = torch.randn(1, 3, 2, 4, requires_grad=True)
    loss = cross_entropy(output, to_float(STORED, KIND))
    places = LABELED[0, 0].nonzero().tolist()
    by_hand = [-F.log_softmax(output[0, :, i, j], 0)[int(STORED[0, 0, i, j])].item() for i, j in places]
    assert loss.item() == pytest.approx(np.mean(by_hand), rel=1e-6)
    loss.backward()
    assert output.grad is not None
    assert torch.equal((output.grad != 0).any(1, keepdim=True), LABELED)
    assert cross_entropy(output, torch.full((1, 3, 2, 4), -1.0)) == 0  # of an image without any other


def test_they_are_not_scored() -> None:
    output = torch.tensor([[0, 1, 1, 2], [0, 2, 1, 1]], dtype=torch.uint8)[None, None]
    scores = ImageScores(classes=3)
    scores.update(output.expand(2, 1, 2, 4), torch.cat([STORED, torch.full_like(STORED, 255)]), ["some", "none"])
    found = scores.compute()
    # Right are 3 of 5. Class 0: 1 of 2 pixels, 1: 2 of 4, 2: 0 of 1.
    assert found["some"] == pytest.approx({"accuracy": 3 / 5, "miou": (1 / 2 + 2 / 4 + 0) / 3})
    assert found["none"] == {"accuracy": 1, "miou": 1}


def make_mask_root(root: Path) -> Path:
    """Where the photo is dark, nobody has said what the target is; elsewhere mostly 1."""
    for seed, split in enumerate(["train"] * 3 + ["val", "test"]):
        photo = image(seed)
        values = np.asarray(comic_of(photo))
        mask = np.where(values[..., 0] > 150, 255, values[..., 1] > 50).astype(np.uint8)
        for folder, one in {"face": photo, "comics": Image.fromarray(mask)}.items():
            (root / split / folder).mkdir(parents=True, exist_ok=True)
            one.save(root / split / folder / f"{seed}.png")
    return root


def test_baselines_are_fitted_to_the_others(tmp_path: Path) -> None:
    """The mean of the targets, and a curve by numpy's least squares."""
    root = make_mask_root(tmp_path)
    options = {"target": "mask", "classes": 2, "ignore": 255, "jitter": False, "hflip": False}
    data, model = make_data(root, **options), UNetAutoencoder(SIZE, base_channels=2, out_channels=2)
    model.trained_on = data.facts
    fit(model, data, max_epochs=0)
    photos, masks = (np.stack([np.asarray(Image.open(root / "train" / folder / f"{i}.png")) for i in range(3)])
                     for folder in ("face", "comics"))  # fmt: skip
    labeled = masks != 255
    assert 0.2 < labeled.mean() < 0.8
    is_one = masks[labeled].astype(float)
    assert model.baselines.mean.numpy() == pytest.approx(np.array([1, -1]) * (1 - 2 * is_one.mean()), abs=1e-5)
    x = torch.from_numpy(photos[labeled] / 127.5 - 1).T[None, :, None]  # one row of pixels
    terms = model.baselines.color_curve.terms(x)[0, :, 0].numpy().T
    fitted = terms @ np.linalg.lstsq(terms, 2 * is_one - 1, rcond=None)[0]
    with torch.no_grad():
        found = model.baselines.color_curve(x)[0, 1, 0].numpy()
    assert np.abs(found - fitted).max() < 0.01
