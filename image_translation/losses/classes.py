"""The loss of networks whose targets are masks."""

import torch.nn.functional as F
from torch import Tensor

NO_CLASS = -100


def cross_entropy(output: Tensor, target: Tensor) -> Tensor:
    """Mean over the pixels that are of a class, 0 if none is.

    ``output`` (N, classes, H, W), any numbers; ``target`` likewise, 1 for the class, −1 for others.
    """
    largest, labels = target.max(dim=1)
    labels = labels.masked_fill(largest < 0, NO_CLASS)
    total = F.cross_entropy(output.float(), labels, ignore_index=NO_CLASS, reduction="sum")
    return total / (labels != NO_CLASS).sum().clamp(min=1)
