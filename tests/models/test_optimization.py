"""What networks learn from and how their weights are updated: losses, steps, clipping, optimizers, learning rates."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import SIZE, make_comic_root
from helpers.training import PLAIN, SGD, adam, fit, make_data, moved_alike, rates_of, settings, without_dropout
from pytorch_lightning.callbacks import LambdaCallback, ModelCheckpoint
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.textbook import Pix2PixLoop
from image_translation.callbacks import LastCheckpoint, TrainingMetrics
from image_translation.cli.errors import UserError
from image_translation.losses.adversarial import GAN_LOSSES
from image_translation.models import Pix2Pix
from image_translation.training.schedules import linear_decay, warmup_cosine


class Rates(pl.Callback):
    """The learning rates of all optimizers at each batch."""

    def on_train_start(self, *_: Any) -> None:
        self.seen = list[list[float]]()

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.seen.append([optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers])


def test_pix2pix_equals_a_textbook_loop(comic_root: Path) -> None:
    """Discriminator first, then the generator; three batches."""
    model, reference, start = (without_dropout("pix2pix", optimizer=SGD) for _ in range(3))
    fit(model, make_data(comic_root, batch_size=2, **PLAIN))

    pl.seed_everything(0, verbose=False)
    data = make_data(comic_root, batch_size=2, **PLAIN)
    data.setup()
    generator, discriminator = reference.generator, reference.discriminator
    loop: Any = SimpleNamespace(
        generator=generator, opt_g=SGD(generator.parameters()), l1=nn.L1Loss(),
        discriminator=discriminator, opt_d=SGD(discriminator.parameters()), bce=nn.BCEWithLogitsLoss(),
    )  # fmt: skip
    for batch in map(data.finish_batch, data.train_dataloader()):
        Pix2PixLoop.step(loop, batch["input"], batch["target"])
    moved_alike(reference, model, start)


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 6), (2, 4), (4, 2)])
def test_one_update_is_one_step(name: str, accumulate: int, steps: int, comic_root: Path, tmp_path: Path) -> None:
    """Two epochs of three batches; an epoch's last batch completes an update."""
    own, trainers = settings(name, accumulate_grad_batches=accumulate)
    callbacks = [TrainingMetrics(str(tmp_path / "metrics.csv")),
                 ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=2)]  # fmt: skip
    trainer = fit(without_dropout(name, **own), make_data(comic_root, batch_size=2), max_epochs=2, callbacks=callbacks,
                  **trainers)  # fmt: skip
    counts = {int(state["step"]) for optimizer in trainer.optimizers for state in optimizer.state.values()}
    assert (counts, trainer.global_step) == ({steps}, steps)
    names = sorted(path.name for path in tmp_path.glob("*.ckpt"))
    assert names == [f"step={step}.ckpt" for step in range(2, steps + 1, 2)]


def test_accumulated_batches_equal_one_large_batch(name: str, tmp_path: Path) -> None:
    root = make_comic_root(tmp_path / "pairs", {"train": 6, "val": 1, "test": 1})
    own, trainers = settings(name, accumulate_grad_batches=3)
    once, parts, start = (without_dropout(name, optimizer=SGD, **options) for options in ({}, own, {}))
    fit(once, make_data(root, batch_size=6, **PLAIN))
    fit(parts, make_data(root, batch_size=2, **PLAIN), **trainers)
    # Pix2Pix: only the last of the three batches meets the updated discriminator.
    moved_alike(once, parts, start, tolerance=0.05 if name == "pix2pix" else 0.001)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
def test_the_norm_of_the_gradients_is_limited(name: str, precision: str, comic_root: Path) -> None:
    """With a scaler, as GPUs need it for float16, it is limited after the gradients are unscaled."""
    norms: list[float] = []

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        gradients = [p.grad.flatten() for group in optimizer.param_groups for p in group["params"]]
        norms.append(torch.cat(gradients).norm().item())

    own, trainers = settings(name, gradient_clip_val=1e-3)
    if precision == "16-mixed":
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        trainers["plugins"] = [MixedPrecision("16-mixed", "cpu", scaler)]
    else:
        trainers["precision"] = precision
    model = without_dropout(name, **own)
    with register_optimizer_step_post_hook(note):
        trainer = fit(model, make_data(comic_root, batch_size=2), limit_val_batches=0, **trainers)
    assert norms == pytest.approx([1e-3] * 3 * len(trainer.optimizers), rel=1e-3)
    assert {optimizer.defaults["fused"] for optimizer in trainer.optimizers} == {precision != "16-mixed"}
    assert all(model.gradient_norms[f"gradient_{name}"] > 0.01 for name, _ in model.named_children() if "tor" in name)


def test_any_optimizer(name: str, comic_root: Path) -> None:
    model = without_dropout(name, optimizer=partial(torch.optim.RMSprop, lr=1e-3))  # never fused
    optimizers = fit(model, make_data(comic_root, batch_size=3), limit_val_batches=0).optimizers
    assert {type(optimizer) for optimizer in optimizers} == {torch.optim.RMSprop}
    assert {id(p) for optimizer in optimizers for p in optimizer.state} == {id(p) for p in model.parameters()}


PLATEAU = {"mode": "max", "factor": 0.5, "patience": 0, "threshold": 1e9, "threshold_mode": "abs"}  # nothing is better


@pytest.mark.parametrize(("scheduler", "options", "accumulate"), [
    (warmup_cosine, {"warmup_steps": 2}, 1), (warmup_cosine, {"warmup_steps": 2}, 2),
    (lr_scheduler.OneCycleLR, {"max_lr": 0.002}, 2), (linear_decay, {"max_epochs": 4, "decay_epochs": 3}, 2),
    (lr_scheduler.CosineAnnealingLR, {"T_max": 4}, 1), (lr_scheduler.ReduceLROnPlateau, PLATEAU, 1),
])  # fmt: skip
def test_schedules(name: str, scheduler: Any, options: dict[str, Any], accumulate: int, comic_root: Path) -> None:
    """Four epochs of three batches, which are three updates or two."""
    if scheduler in (warmup_cosine, lr_scheduler.OneCycleLR):  # advance every step
        per_epoch, of_batches = (3, [0, 1, 2]) if accumulate == 1 else (2, [0, 0, 1])
        plan = rates_of(scheduler, 4 * per_epoch, 1e-3, total_steps=4 * per_epoch, **options)
        expected = [plan[epoch * per_epoch + update] for epoch in range(4) for update in of_batches]
    else:
        by_hand = scheduler is lr_scheduler.ReduceLROnPlateau
        plan = [1e-3, 1e-3, 0.5e-3, 0.25e-3] if by_hand else rates_of(scheduler, 4, 1e-3, **options)
        expected = [rate for rate in plan for _ in range(3)]
    own, trainers = settings(name, accumulate_grad_batches=accumulate)
    model, rates = without_dropout(name, optimizer=adam(1e-3), scheduler=partial(scheduler, **options), **own), Rates()
    fit(model, make_data(comic_root, batch_size=2), max_epochs=4, callbacks=[rates], **trainers)
    for seen in zip(*rates.seen, strict=True):
        assert seen == pytest.approx(expected)


def test_a_schedule_without_an_end_is_refused(comic_root: Path) -> None:
    model = without_dropout("pix2pix", scheduler=partial(warmup_cosine, warmup_steps=1))
    with pytest.raises(UserError, match=r"number of steps. Set trainer.max_steps, or .* trainer.max_epochs"):
        fit(model, make_data(comic_root), max_epochs=-1)


LONGER = {
    "linear": lambda epochs: partial(linear_decay, max_epochs=epochs, decay_epochs=1),
    "cosine": lambda epochs: partial(lr_scheduler.CosineAnnealingLR, T_max=epochs),
    "warm-up": lambda _: partial(warmup_cosine, warmup_steps=2),
    "one cycle": lambda _: partial(lr_scheduler.OneCycleLR, max_lr=0.002),
}


@pytest.mark.parametrize("schedule", LONGER)
def test_resumed_for_longer_has_the_longer_schedule(name: str, schedule: str, comic_root: Path, tmp_path: Path) -> None:
    def train(epochs: int, checkpoint: Path | None = None) -> list[float]:
        model = without_dropout(name, optimizer=adam(1e-3), scheduler=LONGER[schedule](epochs))
        callbacks = [rates := Rates(), LastCheckpoint(str(tmp_path))]
        data = make_data(comic_root, batch_size=2)
        fit(model, data, max_epochs=epochs, callbacks=callbacks, ckpt_path=checkpoint)
        return [rate[-1] for rate in rates.seen]

    whole = train(4)
    train(2)
    assert train(4, tmp_path / "last.ckpt") == pytest.approx(whole[6:])


def calls_of(network: nn.Module) -> list[list[Tensor]]:
    """Each call of a network from now on: its inputs, then the output."""
    calls: list[list[Tensor]] = []
    network.register_forward_hook(lambda _, inputs, output: calls.append([*inputs, output]))
    return calls


def test_no_loss_reaches_the_other_network(comic_root: Path) -> None:
    """Nor does a step compute more than it must: one pass of the generator, two of the discriminator."""
    model, seen = without_dropout("pix2pix"), []
    generated, judged = calls_of(model.generator), calls_of(model.discriminator)

    def watch(*_: Any) -> None:
        networks = (model.generator, model.discriminator)
        with_gradient = (any(p.grad is not None for p in network.parameters()) for network in networks)
        seen.append((*with_gradient, all(p.requires_grad for p in model.parameters())))

    callbacks = [LambdaCallback(on_before_optimizer_step=watch)]
    fit(model, make_data(comic_root, batch_size=3), limit_val_batches=0, callbacks=callbacks)
    assert seen == [(False, True, True), (True, False, False)] * 2  # gradients of generator and discriminator
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert len(generated) == 2
    assert [len(x) for x, *_ in judged] == [6, 3] * 2  # real and fake in one pass, then fake for the generator


@pytest.mark.parametrize("options", [{}, {"norm": "batch"}, {"gradient_checkpointing": True}])
@pytest.mark.parametrize("kind", GAN_LOSSES)
def test_the_losses_are_those_of_two_passes(kind: str, options: dict[str, Any]) -> None:
    model = without_dropout("pix2pix", gan_loss=kind, lambda_l1=7.0, **options).double()
    x, y, fake = torch.rand(3, 3, 3, SIZE, SIZE, dtype=torch.float64) * 2 - 1
    losses = model.discriminator_losses(x, y, fake) | model.generator_losses(x, y, fake)
    real_logits, fake_logits = model.discriminator(x, y), model.discriminator(x, fake)
    loss, l1 = GAN_LOSSES[kind], (fake - y).abs().mean()
    expected = {
        "discriminator": loss.discriminator_loss(real_logits, fake_logits), "gan": loss.generator_loss(fake_logits),
        "score_real": loss.mean_score(real_logits), "score_fake": loss.mean_score(fake_logits), "l1": l1,
        "loss": loss.generator_loss(fake_logits) + 7 * l1, "accuracy": loss.accuracy(real_logits, fake_logits),
    }  # fmt: skip
    torch.testing.assert_close(losses, expected, rtol=1e-4, atol=0, check_dtype=False)


def test_the_generator_learns_from_the_discriminator_just_updated(comic_root: Path) -> None:
    """In bfloat16 too, where autocast could keep its copies of weights that it has seen."""
    model = without_dropout("pix2pix", optimizer=SGD)
    judged = calls_of(model.discriminator)
    fit(model, make_data(comic_root, batch_size=6), precision="bf16-mixed", limit_val_batches=0)
    x, fake, logits = judged[1]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        after = model.discriminator(x, fake)
        before = without_dropout("pix2pix").discriminator(x, fake)
    assert torch.allclose(logits, after, atol=1e-2)
    assert not torch.allclose(logits, before, atol=0.1)


@pytest.mark.parametrize(("option", "value"), [
    ("gradient_clip_val", -1.0), ("accumulate_grad_batches", 1.5), ("lambda_l1", float("nan")), ("gan_loss", "wgan"),
    ("norm", "layer"), ("compile", "fast"), ("image_size", 100),
])  # fmt: skip
def test_options_out_of_range(option: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"^{option} .*got .*{value}"):
        Pix2Pix(**({"image_size": SIZE, "base_channels": 2} | {option: value}))
