"""Training and use of the models, in process and on few small images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from conftest import SIZE, image, make_comic_root
from PIL import Image
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins import MixedPrecision
from torch import nn

import image_translation
from image_translation.cli.errors import UserError
from image_translation.data import PairedImageDataModule
from image_translation.losses.adversarial import GAN_LOSSES
from image_translation.metrics.image_scores import mean_metrics
from image_translation.models import Identity, ImageTranslationModule, Pix2Pix, UNetAutoencoder

MODELS = {"pix2pix": Pix2Pix, "autoencoder": UNetAutoencoder}


def make_model(name: str, **options: Any) -> ImageTranslationModule:
    torch.manual_seed(0)
    return MODELS[name](**({"image_size": SIZE, "base_channels": 4} | options))


def make_data(root: Path, **options: Any) -> PairedImageDataModule:
    defaults = {"input_folder": "face", "target_folder": "comics", "image_size": SIZE, "num_workers": 0}
    return PairedImageDataModule(task="comic", root=str(root), **(defaults | options))


def fit(model: ImageTranslationModule, data: PairedImageDataModule, **options: Any) -> pl.Trainer:
    pl.seed_everything(0, verbose=False)
    defaults = {"max_epochs": 1, "enable_progress_bar": False, "enable_model_summary": False, "logger": False,
                "enable_checkpointing": False, "accelerator": "cpu", "num_sanity_val_steps": 0}  # fmt: skip
    trainer = pl.Trainer(**(defaults | options))
    trainer.fit(model, datamodule=data)
    return trainer


def test_pix2pix_step_against_a_plain_loop(comic_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights after three batches equal those of a textbook loop: discriminator first, then the generator.

    Plain gradient descent shows a wrong scale of a loss, which Adam would hide.
    """

    def descent(parameters: Any, *_: Any, **__: Any) -> torch.optim.SGD:
        return torch.optim.SGD(parameters, 0.01)

    monkeypatch.setattr("image_translation.models.base.Adam", descent)
    model, reference = make_model("pix2pix", dropout=0.0), make_model("pix2pix", dropout=0.0)
    fit(model, make_data(comic_root, batch_size=2, jitter=False, hflip=False))

    pl.seed_everything(0, verbose=False)
    data = make_data(comic_root, batch_size=2, jitter=False, hflip=False)
    data.setup()
    assert isinstance(reference, Pix2Pix)
    generator, discriminator = reference.generator, reference.discriminator
    opt_g = descent(generator.parameters())
    opt_d = descent(discriminator.parameters())
    for raw in data.train_dataloader():
        batch = data.finish_batch(raw)
        x, y = batch["input"], batch["target"]
        fake = generator(x)
        real_logits, fake_logits = discriminator(x, y), discriminator(x, fake.detach())
        ones, zeros = torch.ones_like(real_logits), torch.zeros_like(fake_logits)
        loss = 0.5 * F.binary_cross_entropy_with_logits(real_logits, ones)
        loss = loss + 0.5 * F.binary_cross_entropy_with_logits(fake_logits, zeros)
        opt_d.zero_grad()
        loss.backward()
        opt_d.step()
        opt_g.zero_grad()
        loss = F.binary_cross_entropy_with_logits(discriminator(x, fake), ones) + 100 * (fake - y).abs().mean()
        loss.backward()
        opt_g.step()
    untouched = make_model("pix2pix", dropout=0.0)
    parameters = zip(model.named_parameters(), reference.parameters(), untouched.parameters(), strict=True)
    for (name, ours), theirs, start in parameters:
        moved = (theirs - start).norm()
        assert moved > 0, name
        assert (ours - theirs).norm() < 0.01 * moved, name


def test_the_discriminator_never_gets_the_generators_gradients(
    comic_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_model("pix2pix")
    assert isinstance(model, Pix2Pix)
    seen = []
    descend = Pix2Pix.descend

    def watch(self: Pix2Pix, index: int, loss: torch.Tensor) -> None:
        frozen = [not p.requires_grad for p in self.discriminator.parameters()]
        descend(self, index, loss)
        if index == 0:
            seen.append((all(frozen), any(p.grad is not None for p in self.discriminator.parameters())))
        else:
            seen.append((any(frozen), any(p.grad is not None for p in self.generator.parameters())))

    monkeypatch.setattr(Pix2Pix, "descend", watch)
    fit(model, make_data(comic_root, batch_size=3))
    assert seen == [(False, False), (True, False)] * 2
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_overfits_four_pairs(name: str, tmp_path: Path) -> None:
    """L1 falls below a tenth of its start."""
    root = make_comic_root(tmp_path / "pairs", {"train": 4, "val": 1, "test": 1})
    options = {"dropout": 0.0} if name == "pix2pix" else {}
    model = make_model(name, base_channels=16, learning_rate=2e-3, **options)
    data = make_data(root, batch_size=4, jitter=False, hflip=False)
    data.setup()
    batch = data.finish_batch(next(iter(data.train_dataloader())))

    def l1() -> float:
        with torch.no_grad():
            return F.l1_loss(model.eval()(batch["input"]), batch["target"]).item()

    start = l1()
    fit(model, data, max_epochs=300, limit_val_batches=0)
    assert l1() < start / 10


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("accumulate_grad_batches", [1, 2])
def test_one_batch_is_one_step(name: str, accumulate_grad_batches: int, comic_root: Path, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=2)
    data = make_data(comic_root, batch_size=2)  # three batches an epoch
    trainer = fit(make_model(name, accumulate_grad_batches=accumulate_grad_batches), data, max_epochs=-1, max_steps=7,
                  callbacks=[checkpoint], enable_checkpointing=True)  # fmt: skip
    assert trainer.global_step == 7
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == [f"step={step}.ckpt" for step in (2, 4, 6)]


def test_accumulated_batches_equal_one_large_batch(tmp_path: Path) -> None:
    root = make_comic_root(tmp_path / "pairs", {"train": 6, "val": 1, "test": 1})
    once = make_model("autoencoder")
    fit(once, make_data(root, batch_size=6, jitter=False, hflip=False))
    parts = make_model("autoencoder", accumulate_grad_batches=3)
    fit(parts, make_data(root, batch_size=2, jitter=False, hflip=False))
    for (name, a), b in zip(once.named_parameters(), parts.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-5), name


def test_accumulation_updates_at_the_end_of_the_epoch_too(comic_root: Path) -> None:
    model = make_model("pix2pix", accumulate_grad_batches=4)
    before = [p.clone() for p in model.parameters()]
    fit(model, make_data(comic_root, batch_size=2))  # three batches: the accumulation is never full
    assert all(not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", MODELS)
def test_gradient_clip_limits_the_norm(
    name: str, precision: str, comic_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms = []
    zero_grad = torch.optim.Adam.zero_grad

    def record(self: torch.optim.Adam, *args: Any, **kwargs: Any) -> None:  # the gradients that the step has used
        grads = [p.grad for group in self.param_groups for p in group["params"]]
        norms.append(torch.cat([g.flatten() for g in grads]).norm().item())
        zero_grad(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "zero_grad", record)
    fit(make_model(name, gradient_clip_val=0.01), make_data(comic_root, batch_size=2), precision=precision)
    assert len(norms) == 3 * len(make_model(name).trained_networks())
    assert max(norms) <= 0.01 * 1.001


def test_gradient_clip_with_scaled_float16_gradients(comic_root: Path) -> None:
    """A gradient scaler, as on a GPU: the norm is limited after unscaling, and only once."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    plugin = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    start, model = make_model("pix2pix", gradient_clip_val=1e-3), make_model("pix2pix", gradient_clip_val=1e-3)
    trainer = fit(model, make_data(comic_root, batch_size=2), plugins=[plugin], limit_val_batches=0)
    assert trainer.global_step == 3
    assert not torch.equal(start.generator.head[1].weight, model.generator.head[1].weight)


@pytest.mark.parametrize("name", MODELS)
def test_learning_rate_is_constant_then_falls_to_zero_by_epoch(name: str, comic_root: Path) -> None:
    rates = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            rates.append([optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers])

    model = make_model(name, learning_rate=1.0, lr_decay_epochs=3)
    fit(model, make_data(comic_root, batch_size=3), max_epochs=5, callbacks=[Watch()])
    expected = np.repeat([1, 1, 0.75, 0.5, 0.25], 2)
    for optimizer in range(len(model.trained_networks())):
        assert [rate[optimizer] for rate in rates] == pytest.approx(expected)


def test_a_plan_longer_than_the_training_is_refused(comic_root: Path) -> None:
    with pytest.raises(UserError, match=r"lr_decay_epochs=3 needs at least as many trainer\.max_epochs, got 2"):
        fit(make_model("autoencoder", lr_decay_epochs=3), make_data(comic_root), max_epochs=2)


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("name", MODELS)
def test_an_output_does_not_depend_on_the_rest_of_the_batch(name: str, norm: str) -> None:
    model = make_model(name, image_size=64, norm=norm).eval()
    x = torch.rand(3, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        together, alone = model(x), torch.cat([model(image[None]) for image in x])
    assert torch.allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_evaluation_normalizes_as_training_did(name: str) -> None:
    """The default norm has the same output in both modes; batch norm's running statistics have another one."""
    options = {"dropout": 0.0} if name == "pix2pix" else {}
    x = torch.rand(1, 3, 64, 64) * 2 - 1

    def difference(norm: str) -> float:
        model = make_model(name, image_size=64, norm=norm, **options)
        with torch.no_grad():
            return (model.train()(x) - model.eval()(x)).abs().max().item()

    assert difference("instance") == 0
    assert difference("batch") > 1e-6


def test_val_test_and_predict_measure_the_same_output(comic_root: Path) -> None:
    """The loops of the trainer give what ``predict`` gives, whatever the batch size."""
    model = make_model("autoencoder", image_size=64)
    for batch_size in (1, 3):
        data = make_data(comic_root, image_size=64, eval_batch_size=batch_size)
        trainer = fit(model, data, max_steps=0)
        trainer.test(model, datamodule=data, verbose=False)
        predicted = torch.cat(trainer.predict(model, datamodule=data))  # type: ignore[arg-type]
        for output, pair in zip(predicted, data.datasets["test"].pairs, strict=True):
            assert pair.input is not None
            source, target = (
                np.asarray(Image.open(p).resize((64, 64), Image.Resampling.BICUBIC)) for p in (pair.input, pair.target)
            )
            translated = model.predict(source)
            assert np.abs(output.permute(1, 2, 0).numpy().astype(int) - translated).max() <= 1
            expected = ((translated.astype(float) - target) ** 2).mean()
            assert model.scores["test"][pair.name]["mse"] == pytest.approx(expected, rel=1e-2)


def test_identity_scores_the_input_itself(comic_root: Path) -> None:
    data = make_data(comic_root)
    model = Identity()
    trainer = fit(model, data, max_epochs=0)
    trainer.test(model, datamodule=data, verbose=False)
    assert model.scores["test"] == model.scores["identity"]
    errors = [
        ((np.asarray(Image.open(p.input)).astype(float) - np.asarray(Image.open(p.target))) ** 2).mean()  # type: ignore[arg-type]
        for p in data.datasets["test"].pairs
    ]
    assert mean_metrics(model.scores["test"])["mse"] == pytest.approx(np.mean(errors))
    assert not list(model.parameters())


@pytest.mark.parametrize("size", [(32, 32), (45, 20), (7, 5)])
def test_translate_takes_any_size_and_keeps_kind_and_size(size: tuple[int, int]) -> None:
    model = make_model("pix2pix")
    source = image(3, size)
    translated = model.predict(source)
    assert isinstance(translated, Image.Image)
    assert translated.size == size
    array = model.predict(np.asarray(source))
    assert isinstance(array, np.ndarray)
    assert array.dtype == np.uint8
    assert np.array_equal(array, translated)
    assert np.array_equal(Identity().predict(source), source)


def test_translate_refuses_what_it_would_misread() -> None:
    for wrong in (
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((8, 8, 3)),
        np.zeros((8, 8), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
    ):
        with pytest.raises(UserError, match="uint8 array"):
            Identity().predict(wrong)


@pytest.mark.parametrize("kind", GAN_LOSSES)
def test_every_gan_loss_trains(kind: str, comic_root: Path) -> None:
    model = make_model("pix2pix", gan_loss=kind)
    trainer = fit(model, make_data(comic_root, batch_size=3), max_epochs=2)
    names = {"l1", "gan", "discriminator", "score_real", "score_fake", "learning_rate"}
    assert names <= {n.removeprefix("train/") for n in trainer.callback_metrics}
    assert all(torch.isfinite(value) for value in trainer.callback_metrics.values())


def test_bf16_trains_and_measures_in_full_precision(comic_root: Path) -> None:
    model = make_model("pix2pix")
    data = make_data(comic_root, batch_size=2)
    trainer = fit(model, data, precision="bf16-mixed", max_epochs=2)
    trainer.test(model, datamodule=data, verbose=False)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    for row in model.scores["test"].values():
        assert 0 < row["mse"] < 65025
        assert -1 <= row["ssim"] <= 1
    identity = Identity()
    exact = fit(identity, data, max_epochs=0, precision="32-true")
    exact.test(identity, datamodule=data, verbose=False)
    assert model.scores["identity"] == identity.scores["identity"]


def test_translate_turns_images_as_the_dataset_does() -> None:
    turned = image(1, (40, 20))
    turned.getexif()[0x0112] = 6
    assert Identity().predict(turned).size == (20, 40)  # type: ignore[union-attr]


def test_outputs_that_are_not_finite_end_the_run(comic_root: Path) -> None:
    model = make_model("autoencoder")
    with torch.no_grad():
        model.generator.head[1].bias[1] = float("nan")  # type: ignore[index]
    with pytest.raises(UserError, match=r"Training has diverged: after step \d+ outputs"):
        fit(model, make_data(comic_root, batch_size=2))


def test_a_mistyped_option_is_refused() -> None:
    with pytest.raises(UserError, match=r"got 'learnig_rate'.*Did you mean 'learning_rate'"):
        UNetAutoencoder(learnig_rate=1.0)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("option", "value"),
    [("learning_rate", -1e-4), ("learning_rate", 0), ("learning_rate", float("nan")), ("beta1", 1.0), ("beta1", -0.1),
     ("lr_decay_epochs", -1), ("gradient_clip_val", -1.0), ("accumulate_grad_batches", 0), ("accumulate_grad_batches", 1.5), ("lambda_l1", -1.0),
     ("learning_rate", float("inf")), ("gan_loss", "wgan"), ("norm", "layer")],
)  # fmt: skip
def test_options_out_of_range(option: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"{option}.*got .*{value}"):
        Pix2Pix(image_size=SIZE, base_channels=2, **{option: value})


def test_a_new_model_is_one_class(comic_root: Path, tmp_path: Path) -> None:
    """Trained, tested, saved and loaded by the base's machinery."""

    class Shift(ImageTranslationModule):
        def __init__(self) -> None:
            super().__init__(learning_rate=0.1)
            self.save_hyperparameters(logger=False)
            self.generator = nn.Conv2d(3, 3, 1)

        def optimize(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
            l1 = F.l1_loss(self.generator(batch["input"]), batch["target"])
            self.descend(0, l1)
            return {"l1": l1}

        def trained_networks(self) -> list[nn.Module]:
            return [self.generator]

    try:
        model, data = Shift(), make_data(comic_root)
        trainer = fit(model, data, max_epochs=30)
        trainer.test(model, datamodule=data, verbose=False)
        learnt, identity = (mean_metrics(model.scores[name])["mse"] for name in ("test", "identity"))
        assert learnt < identity / 10  # a 1×1 convolution can do it all
        trainer.save_checkpoint(tmp_path / "shift.ckpt", weights_only=True)
        assert isinstance(image_translation.load(tmp_path / "shift.ckpt"), Shift)
    finally:
        del ImageTranslationModule.registry["Shift"]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_trains_on_a_gpu(precision: str, comic_root: Path) -> None:
    model = make_model("pix2pix", gradient_clip_val=1.0)
    data = make_data(comic_root, batch_size=2)
    trainer = fit(model, data, accelerator="gpu", devices=1, precision=precision, max_epochs=3)
    trainer.test(model, datamodule=data, verbose=False)
    on_gpu = model.scores["identity"]
    identity = Identity()
    cpu = fit(identity, data, max_epochs=0)
    cpu.test(identity, datamodule=data, verbose=False)
    for name, row in identity.scores["identity"].items():
        assert on_gpu[name] == pytest.approx(row, abs=1e-6)
