"""The residual U-Net with a discriminator: at first a plain one, then both networks learn."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from conftest import Command, image, read_json, succeeded
from helpers.training import fit, make_data, moved_alike
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

import image_translation
from image_translation.callbacks import BestCheckpoint, LastCheckpoint
from image_translation.cli.errors import UserError
from image_translation.losses.augmentation import diff_augment
from image_translation.losses.reconstruction import texture_distance
from image_translation.models import ResUNet, ResUNetGAN
from image_translation.networks import MultiScaleDiscriminator, PatchGANDiscriminator

SMALL: dict[str, Any] = {"base_channels": 8, "depth": 2, "optimizer": partial(torch.optim.SGD, lr=1.0)}


class Crash(pl.Callback):
    """Ends the training in an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.current_epoch == self.epoch:
            raise RuntimeError("crashed")


def make_gan(**options: Any) -> ResUNetGAN:
    torch.manual_seed(0)
    return ResUNetGAN(**(SMALL | {"discriminator_channels": 4} | options))


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_before_the_discriminator_it_is_a_resunet(comic_root: Path) -> None:
    gan, start = make_gan(gan_start=1), make_gan()
    torch.manual_seed(0)
    plain = ResUNet(**SMALL)
    fit(plain, make_data(comic_root, batch_size=2))
    fit(gan, make_data(comic_root, batch_size=2))
    moved_alike(plain.generator, gan.generator, start.generator, tolerance=1e-5)
    pairs = zip(gan.discriminator.parameters(), start.discriminator.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_the_discriminator_joins_in_and_the_weights_of_before_are_kept(comic_root: Path) -> None:
    """Three steps an epoch: one without it, five with it."""
    before, gan, start = make_gan(gan_start=1), make_gan(gan_start=0.2), make_gan()
    fit(before, make_data(comic_root, batch_size=2), max_steps=1, max_epochs=-1)
    fit(gan, make_data(comic_root, batch_size=2), max_epochs=2)
    torch.testing.assert_close(gan.start, before.weights())
    after = gan.weights()
    assert not torch.allclose(after, gan.start, atol=1e-4)
    pairs = zip(gan.discriminator.parameters(), start.discriminator.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)
    gan.interpolate(1.0)
    assert torch.equal(gan.weights(), after)
    gan.interpolate(0.25)
    torch.testing.assert_close(gan.weights(), 0.75 * gan.start + 0.25 * after)


def test_the_losses_are_means_over_scales_and_layers() -> None:
    gan = make_gan().double()
    x, y, fake = (images(2, 3, 64, 64, seed=seed).double() for seed in range(3))
    found = gan.discriminator_losses(x, y, fake) | gan.generator_losses(x, y, fake)
    features, hinge, logits_of_fake = [], [], []
    for number, discriminator in enumerate(gan.discriminator.scales):
        small = [F.interpolate(i, scale_factor=0.5**number, mode="area") for i in (x, y, fake)]
        real_maps, fake_maps = [], []
        for maps, target in ((real_maps, small[1]), (fake_maps, small[2])):
            handles = [layer.register_forward_hook(lambda _, __, output, maps=maps: maps.append(output.clone()))
                       for layer in discriminator.layers if isinstance(layer, torch.nn.LeakyReLU)]  # fmt: skip
            maps.append(discriminator(small[0], target))
            for handle in handles:
                handle.remove()
        *real_features, real = real_maps
        *fake_features, judged = fake_maps
        features += [(a - b).abs().mean() for a, b in zip(real_features, fake_features, strict=True)]
        hinge.append(((1 - real).clamp(min=0).mean() + (1 + judged).clamp(min=0).mean()) / 2)
        logits_of_fake.append(judged.mean())
    assert len(features) == 8
    expected = {"features": sum(features) / 8, "discriminator": sum(hinge) / 2, "gan": -sum(logits_of_fake) / 2}
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-4)


def test_the_generator_minimizes_all_of_them(comic_root: Path) -> None:
    weights = {"lambda_gan": 0.3, "lambda_features": 2.0, "lambda_texture": 0.7}
    gan, seen = make_gan(gan_start=0.5, ssim_weight=0.0, **weights), []

    def note(*arguments: Any) -> None:
        seen.append({name: value.item() for name, value in arguments[2].items()})

    fit(gan, make_data(comic_root, batch_size=3), callbacks=[pl.callbacks.LambdaCallback(on_train_batch_end=note)])
    plain, whole = seen
    assert plain["gan"] == plain["features"] == plain["texture"] == plain["discriminator"] == 0
    added = sum(weight * whole[name.removeprefix("lambda_")] for name, weight in weights.items())
    assert whole["features"] > 0
    assert whole["texture"] > 0
    assert whole["l1"] < whole["loss"] - added < whole["l1"] + 0.22  # the robust distance


def test_texture_is_the_contrast_of_fine_details() -> None:
    """By scipy's filters, away from the border."""
    source, output, target = (images(1, 3, 60, 60, seed=seed).double() for seed in range(3))
    output, source[..., :30] = 0.5 * output, 0.3  # half of the input is flat

    def contrast(image: Tensor) -> np.ndarray:
        fine, coarse = (gaussian_filter(image[0].numpy(), (0, s, s), radius=(0, r, r)) for s, r in ((0.7, 2), (1.5, 4)))
        return np.asarray(np.sqrt(gaussian_filter((fine - coarse) ** 2, (0, 2, 2), radius=(0, 6, 6)) + 1e-6))

    given = contrast(source)
    apart = np.abs(np.log(contrast(output) + 0.02) - np.log(contrast(target) + 0.02)) * given / (given + 0.05)
    found = texture_distance(source, output, target).item()
    assert found == pytest.approx(apart[:, 10:-10, 10:-10].mean(), rel=0.1)
    assert texture_distance(source, target, target).item() == 0
    elsewhere = target.flip(-2)  # not where each detail is counts, but how many there are
    assert texture_distance(source, elsewhere, target).item() < found / 2
    assert texture_distance(torch.zeros_like(source), output, target).item() < found / 10


def test_a_grid_is_no_texture() -> None:
    source, target = images(1, 3, 60, 60), images(1, 3, 60, 60, seed=1)
    grid = torch.ones(60, 60)
    grid[::2, 1::2] = grid[1::2, ::2] = -1
    flat = torch.zeros_like(target)
    without, with_grid = (texture_distance(source, output, target).item() for output in (flat, flat + 0.1 * grid))
    assert with_grid > 0.9 * without


def test_the_weights_of_a_spectral_discriminator_are_limited() -> None:
    discriminator = PatchGANDiscriminator(6, 4, "spectral").train()
    for _ in range(50):
        discriminator(images(1, 3, 32, 32), images(1, 3, 32, 32))
    for layer in (layer for layer in discriminator.layers if isinstance(layer, torch.nn.Conv2d)):
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, rel=0.02)


def test_each_scale_sees_half_the_resolution_of_the_one_before() -> None:
    x = images(1, 3, 64, 64)
    assert [maps[-1].shape[2:] for maps in MultiScaleDiscriminator(6, 4, 2)(x, x)] == [(6, 6), (2, 2)]


def test_resumed_in_either_phase_it_ends_with_the_same_weights(comic_root: Path, tmp_path: Path) -> None:
    def train(folder: Path, crash: int = 4, checkpoint: Path | None = None) -> ResUNetGAN:
        model, data = make_gan(gan_start=0.5, diff_augment=True), make_data(comic_root, batch_size=2)
        callbacks = [BestCheckpoint(str(folder)), LastCheckpoint(str(folder)), Crash(crash)]
        fit(model, data, max_epochs=4, callbacks=callbacks, ckpt_path=checkpoint)
        return model

    whole = train(tmp_path / "whole")
    for epoch in (1, 3):
        folder = tmp_path / str(epoch)
        with pytest.raises(RuntimeError, match="crashed"):
            train(folder, epoch)
        resumed = train(folder, checkpoint=folder / "last.ckpt")
        pairs = zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    best = image_translation.load(tmp_path / "whole" / "best.ckpt")  # the last, not the one of the best PSNR
    assert isinstance(best, ResUNetGAN)
    assert torch.equal(best.weights(), whole.weights())


def test_interpolated_by_evaluate(command: Command, tmp_path: Path) -> None:
    """At alpha=0 it scores as at the end of its first phase."""
    run = tmp_path / "run"
    for index, split in enumerate(["train"] * 4 + ["val", "test"]):
        (tmp_path / "photos" / split).mkdir(parents=True, exist_ok=True)
        image(index).save(tmp_path / "photos" / split / f"{index}.png")
    options = ["task=coloring", "model=resunet_gan", "model.base_channels=8", "model.depth=2",
               "model.discriminator_channels=4",
               "data.image_size=64", "data.batch_size=2", "trainer.max_epochs=2", "trainer.accelerator=cpu",
               "logger=none", f"data.root={tmp_path / 'photos'}"]  # fmt: skip
    succeeded(command("train", *options, f"hydra.run.dir={run}"))
    own = image_translation.load(run)
    assert isinstance(own, ResUNetGAN)
    succeeded(command("evaluate", f"run={run}", "alpha=0", f"output={tmp_path / 'zero'}"))
    succeeded(command("evaluate", f"run={run}", "alpha=1", f"output={tmp_path / 'one'}"))
    zero, one = (read_json(tmp_path / name / "test" / "metrics.json") for name in ("zero", "one"))
    assert one == pytest.approx(read_json(run / "test" / "metrics.json"))
    assert zero["test/psnr"] != one["test/psnr"]
    photo = tmp_path / "photos" / "test" / "5.png"
    succeeded(command("predict", f"run={run}", f"input={photo}", f"output={tmp_path / 'half'}", "alpha=0.5",
                      "device=cpu", "precision=32-true"))  # fmt: skip
    own.interpolate(0.5)
    with Image.open(photo) as source, Image.open(tmp_path / "half" / "5.png") as output:
        assert np.array_equal(output, own.predict(source))
    refused = command("evaluate", f"run={run}", "alpha=0.5")
    assert refused.returncode == 1
    assert "Name a folder for the results: output=…" in refused.stderr


def test_only_what_has_two_ends_is_interpolated(finished_run: Path, command: Command, tmp_path: Path) -> None:
    result = command("evaluate", f"run={finished_run}", "alpha=0.5", f"output={tmp_path / 'out'}")
    assert result.returncode == 1
    assert "alpha goes with model=resunet_gan" in result.stderr


def test_augmented_alike() -> None:
    torch.manual_seed(0)
    x, y = images(6, 3, 64, 64).requires_grad_(), images(6, 3, 64, 64, seed=1)
    a, b, c = diff_augment([x, x, y])
    assert torch.equal(a, b)
    changes = [(a[i] - x[i]).abs().mean().item() for i in range(6)]
    assert len(set(changes)) == 6
    assert min(changes) > 0.05
    holes = (a == 0).all(dim=1)
    assert torch.equal(holes, (c == 0).all(dim=1))
    assert 0.05 < holes.float().mean().item() < 0.5  # of half the side, and what was shifted in
    (gradient,) = torch.autograd.grad(a.square().sum(), x)
    assert gradient.isfinite().all()
    assert gradient.any()


@pytest.mark.parametrize(("option", "value"), [
    ("gan_start", -0.1), ("gan_start", 1.5), ("lambda_gan", -1), ("gan_loss", "wgan"), ("diff_augment", "yes"),
    ("discriminator_channels", 0),
])  # fmt: skip
def test_options_out_of_range(option: str, value: Any) -> None:
    with pytest.raises(UserError):
        make_gan(**{option: value})
