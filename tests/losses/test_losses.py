import pytest
import torch
import torch.nn.functional as F

from image_translation.losses.adversarial import GAN_LOSSES

REAL, FAKE = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])


def test_bce_is_binary_cross_entropy_with_labels() -> None:
    loss, ones, zeros = GAN_LOSSES["bce"], torch.ones(2), torch.zeros(2)
    halves = (
        F.binary_cross_entropy_with_logits(REAL, ones) + F.binary_cross_entropy_with_logits(FAKE, zeros)
    ) / 2  # fmt: skip
    assert loss.discriminator_loss(REAL, FAKE) == pytest.approx(halves.item())
    assert loss.generator_loss(FAKE) == pytest.approx(F.binary_cross_entropy_with_logits(FAKE, ones).item())
    assert loss.mean_score(FAKE) == pytest.approx(torch.sigmoid(FAKE).mean().item())


def test_lsgan_and_hinge_by_hand() -> None:
    lsgan, hinge = GAN_LOSSES["lsgan"], GAN_LOSSES["hinge"]
    assert lsgan.discriminator_loss(REAL, FAKE) == pytest.approx(((1 + 4) / 2 + (0.25 + 9) / 2) / 2)
    assert lsgan.generator_loss(FAKE) == pytest.approx((0.25 + 16) / 2)
    assert hinge.discriminator_loss(REAL, FAKE) == pytest.approx(((0 + 2) / 2 + (1.5 + 0) / 2) / 2)
    assert hinge.generator_loss(FAKE) == pytest.approx(1.25)
    assert hinge.mean_score(FAKE) == pytest.approx(-1.25)


@pytest.mark.parametrize("kind", GAN_LOSSES)
def test_bf16_logits_lose_nothing_in_the_loss(kind: str) -> None:
    """Sums of many half-precision terms would; the loss itself is float32."""
    logits = (torch.randn(10_000) * 3).bfloat16()
    loss = GAN_LOSSES[kind]
    with torch.autocast("cpu", torch.bfloat16):
        half = loss.discriminator_loss(logits, -logits)
    assert half.dtype == torch.float32
    assert half == pytest.approx(loss.discriminator_loss(logits.float(), -logits.float()).item(), rel=1e-6)


@pytest.mark.parametrize("kind", GAN_LOSSES)
def test_each_side_wants_what_it_should(kind: str) -> None:
    loss = GAN_LOSSES[kind]
    real, fake = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    loss.discriminator_loss(real, fake).backward()
    assert real.grad is not None
    assert fake.grad is not None
    assert real.grad < 0  # descending raises the real score
    assert fake.grad >= 0
    other = torch.zeros(1, requires_grad=True)
    loss.generator_loss(other).backward()
    assert other.grad is not None
    assert other.grad < 0
