"""The scores of each image, and their means."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from image_translation.cli.errors import one_of
from image_translation.metrics.functional import (
    IDENTICAL_PSNR,
    PEAK,
    accuracy,
    miou,
    mse,
    psnr,
    report_ssim,
    ssim,
)
from image_translation.metrics.names import PROTOCOLS

NAME_BYTES = 256  # file names have at most 255
Scores = dict[str, float]


class ImageScores(Metric):
    """MSE, PSNR and SSIM of each image by its name, or of masks accuracy and mean IoU, of what is saved in the files.

    The protocol ``report`` adds the SSIM of the original study to those of ``standard``. ``peak`` is the range of the
    values, ``classes`` how many a mask has.
    """

    full_state_update = False
    names: list[Tensor]  # as bytes, because only tensors are gathered from other devices
    values: list[Tensor]

    def __init__(self, protocol: str = "standard", peak: float = PEAK, classes: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.functions: dict[str, Callable[..., Tensor]]
        if classes:
            self.functions = {"accuracy": partial(accuracy, classes=classes), "miou": partial(miou, classes=classes)}
        else:
            self.functions = {"mse": mse, "psnr": partial(psnr, peak=peak), "ssim": partial(ssim, peak=peak)}
        if one_of("protocol", protocol, PROTOCOLS) == "report" and not classes:
            self.functions["report_ssim"] = partial(report_ssim, peak=peak)
        self.add_state("names", default=[], dist_reduce_fx="cat")
        self.add_state("values", default=[], dist_reduce_fx="cat")

    def update(self, output: Tensor, target: Tensor, names: list[str]) -> None:
        """Add a batch of images (N, C, H, W), as they are stored, and their names."""
        dtype = torch.float32 if output.device.type == "mps" else torch.float64  # MPS has no float64
        with torch.autocast(output.device.type, enabled=False):
            pair = output.to(dtype), target.to(dtype)
            scores = [function(*pair).to(dtype) for function in self.functions.values()]
            self.values.append(torch.stack(scores, dim=1))
        encoded = [list(name.encode("utf-8", "surrogateescape").ljust(NAME_BYTES, b"\0")) for name in names]
        self.names.append(torch.tensor(encoded, dtype=torch.uint8).to(output.device, non_blocking=True))

    def compute(self) -> dict[str, Scores]:
        """The scores by name, sorted. An image that several devices have seen is in it once."""
        encoded = dim_zero_cat(self.names).tolist()
        names = [bytes(name).rstrip(b"\0").decode("utf-8", "surrogateescape") for name in encoded]
        scores = sorted(zip(names, dim_zero_cat(self.values).tolist(), strict=True))
        return {name: dict(zip(self.functions, row, strict=True)) for name, row in scores}


def mean_metrics(scores: dict[str, Scores], peak: float = PEAK) -> Scores:
    """Means over the images: ``mse``, ``psnr``, ``ssim``, and with the protocol ``report`` the study's ``report/…``."""
    names = next(iter(scores.values()))
    means = {name: sum(row[name] for row in scores.values()) / len(scores) for name in names}
    study = means.pop("report_ssim", None)
    if study is not None:
        # Of images of one size, the error pooled over all pixels is the mean of the images' errors.
        pooled = means["mse"]
        decibels = 10 * math.log10(peak**2 / pooled) if pooled else IDENTICAL_PSNR
        means |= {"report/mse": pooled, "report/psnr": decibels, "report/ssim": study}
    return means
