"""The loss of networks whose targets are masks."""

import torch.nn.functional as F
from torch import Tensor


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Mean over the pixels: ``output`` (N, classes, H, W), any numbers; ``target`` likewise, its class the largest."""
    return F.cross_entropy(output.float(), target.argmax(dim=1))
