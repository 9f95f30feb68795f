import pytest
import torch
import torch.nn.functional as F

from image_translation.losses.adversarial import GAN_LOSSES

REAL, FAKE = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])


def bce(logits: torch.Tensor, label: float) -> float:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label)).item()


@pytest.mark.parametrize(
    ("kind", "discriminator", "generator", "score", "accuracy"),
    [
        ("bce", (bce(REAL, 1) + bce(FAKE, 0)) / 2, bce(FAKE, 1), torch.sigmoid(FAKE).mean().item(), 0.5),
        ("lsgan", ((1 + 4) / 2 + (0.25 + 9) / 2) / 2, (0.25 + 16) / 2, -1.25, 0.75),
        ("hinge", ((0 + 2) / 2 + (1.5 + 0) / 2) / 2, 1.25, -1.25, 0.5),
    ],
)
def test_each_loss_by_hand(kind: str, discriminator: float, generator: float, score: float, accuracy: float) -> None:
    """For the accuracy, 2 and -1 are real and 0.5 and -3 fake; the boundary 0 or 0.5 itself counts as fake."""
    loss = GAN_LOSSES[kind]
    found = [loss.discriminator_loss(REAL, FAKE), loss.generator_loss(FAKE), loss.mean_score(FAKE)]
    assert [value.item() for value in found] == pytest.approx([discriminator, generator, score])
    assert loss.accuracy(REAL, FAKE) == accuracy


@pytest.mark.parametrize("kind", GAN_LOSSES)
def test_the_loss_of_bfloat16_logits_is_float32(kind: str) -> None:
    """A sum of many terms in bfloat16 would be far off."""
    logits, loss = (torch.randn(10_000) * 3).bfloat16(), GAN_LOSSES[kind]
    with torch.autocast("cpu", torch.bfloat16):
        half = loss.discriminator_loss(logits, -logits)
    assert half.dtype == torch.float32
    assert half == pytest.approx(loss.discriminator_loss(logits.float(), -logits.float()).item(), rel=1e-6)
