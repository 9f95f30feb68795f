import pytest
import torch
import torch.nn.functional as F

from image_translation.losses.adversarial import GAN_LOSSES

REAL, FAKE = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])


def test_bce_is_binary_cross_entropy_with_labels() -> None:
    loss, bce = GAN_LOSSES["bce"], F.binary_cross_entropy_with_logits
    halves = (bce(REAL, torch.ones(2)) + bce(FAKE, torch.zeros(2))) / 2
    assert loss.discriminator_loss(REAL, FAKE) == pytest.approx(halves.item())
    assert loss.generator_loss(FAKE) == pytest.approx(bce(FAKE, torch.ones(2)).item())
    assert loss.mean_score(FAKE) == pytest.approx(torch.sigmoid(FAKE).mean().item())


def test_lsgan_and_hinge_by_hand() -> None:
    lsgan, hinge = GAN_LOSSES["lsgan"], GAN_LOSSES["hinge"]
    assert lsgan.discriminator_loss(REAL, FAKE) == pytest.approx(((1 + 4) / 2 + (0.25 + 9) / 2) / 2)
    assert lsgan.generator_loss(FAKE) == pytest.approx((0.25 + 16) / 2)
    assert hinge.discriminator_loss(REAL, FAKE) == pytest.approx(((0 + 2) / 2 + (1.5 + 0) / 2) / 2)
    assert hinge.generator_loss(FAKE) == pytest.approx(1.25)
    assert hinge.mean_score(FAKE) == pytest.approx(-1.25)


def test_accuracy_by_hand() -> None:
    """Of 2, -1 (real) and 0.5, -3 (fake), with the boundary 0 or 0.5, which itself counts as fake."""
    assert [GAN_LOSSES[kind].accuracy(REAL, FAKE).item() for kind in ("bce", "lsgan", "hinge")] == [0.5, 0.75, 0.5]


@pytest.mark.parametrize("kind", GAN_LOSSES)
def test_the_loss_of_bfloat16_logits_is_float32(kind: str) -> None:
    """A sum of many terms in bfloat16 would be far off."""
    logits = (torch.randn(10_000) * 3).bfloat16()
    loss = GAN_LOSSES[kind]
    with torch.autocast("cpu", torch.bfloat16):
        half = loss.discriminator_loss(logits, -logits)
    assert half.dtype == torch.float32
    assert half == pytest.approx(loss.discriminator_loss(logits.float(), -logits.float()).item(), rel=1e-6)
