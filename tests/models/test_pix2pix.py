"""The two networks of Pix2Pix, and what each of them learns from."""

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SIZE
from helpers.training import SGD, fit, make_data, make_model
from pytorch_lightning.callbacks import LambdaCallback
from torch import Tensor, nn

from image_translation.cli.errors import UserError
from image_translation.losses.adversarial import GAN_LOSSES
from image_translation.models import Pix2Pix


def calls_of(network: nn.Module) -> list[list[Tensor]]:
    """Each call of a network from now on: its inputs, then the output."""
    calls: list[list[Tensor]] = []
    network.register_forward_hook(lambda _, inputs, output: calls.append([*inputs, output]))
    return calls


def test_no_loss_reaches_the_other_network(comic_root: Path) -> None:
    """Nor does a step compute more than it must: one pass of the generator, two of the discriminator."""
    model, seen = make_model("pix2pix"), []
    generated, judged = calls_of(model.generator), calls_of(model.discriminator)

    def watch(*_: Any) -> None:
        networks = (model.generator, model.discriminator)
        with_gradient = (any(p.grad is not None for p in network.parameters()) for network in networks)
        seen.append((*with_gradient, all(p.requires_grad for p in model.parameters())))

    watching = LambdaCallback(on_before_optimizer_step=watch)
    fit(model, make_data(comic_root, batch_size=3), limit_val_batches=0, callbacks=[watching])
    assert seen == [(False, True, True), (True, False, False)] * 2  # gradients of generator and discriminator
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert len(generated) == 2
    assert [len(x) for x, *_ in judged] == [6, 3] * 2  # real and fake in one pass, then fake for the generator


@pytest.mark.parametrize("options", [{}, {"norm": "batch"}, {"gradient_checkpointing": True}])
@pytest.mark.parametrize("kind", GAN_LOSSES)
def test_the_losses_are_those_of_two_passes(kind: str, options: dict[str, Any]) -> None:
    model = make_model("pix2pix", gan_loss=kind, lambda_l1=7.0, **options).double()
    x, y, fake = torch.rand(3, 3, 3, SIZE, SIZE, dtype=torch.float64) * 2 - 1
    losses = model.discriminator_losses(x, y, fake) | model.generator_losses(x, y, fake)
    real_logits, fake_logits = model.discriminator(x, y), model.discriminator(x, fake)
    loss = GAN_LOSSES[kind]
    l1 = (fake - y).abs().mean().item()
    expected = {
        "discriminator": loss.discriminator_loss(real_logits, fake_logits), "gan": loss.generator_loss(fake_logits),
        "score_real": loss.mean_score(real_logits), "score_fake": loss.mean_score(fake_logits), "l1": l1,
        "loss": loss.generator_loss(fake_logits) + 7 * l1, "accuracy": loss.accuracy(real_logits, fake_logits),
    }  # fmt: skip
    assert {name: float(value) for name, value in losses.items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=1e-4
    )


def test_the_generator_learns_from_the_discriminator_just_updated(comic_root: Path) -> None:
    """In bfloat16 too, where autocast could keep its copies of weights that it has seen."""
    model = make_model("pix2pix", optimizer=SGD)
    judged = calls_of(model.discriminator)
    fit(model, make_data(comic_root, batch_size=6), precision="bf16-mixed", limit_val_batches=0)
    x, fake, logits = judged[1]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        after = model.discriminator(x, fake)
        before = make_model("pix2pix").discriminator(x, fake)
    assert torch.allclose(logits, after, atol=1e-2)
    assert not torch.allclose(logits, before, atol=0.1)


@pytest.mark.parametrize(("option", "value"), [
    ("gradient_clip_val", -1.0), ("accumulate_grad_batches", 1.5), ("lambda_l1", float("nan")), ("gan_loss", "wgan"),
    ("norm", "layer"), ("compile", "fast"), ("image_size", 100),
])  # fmt: skip
def test_options_out_of_range(option: str, value: Any) -> None:
    with pytest.raises(UserError, match=rf"^{option} .*got .*{value}"):
        Pix2Pix(**({"image_size": SIZE, "base_channels": 2} | {option: value}))
