"""MSE, PSNR and SSIM of the images that a user would get in the saved files.

All are computed a image at a time on 8-bit images, in double precision and outside autocast, so that they equal
scikit-image's on the PNG files and depend neither on the batch size nor on the number of devices.
"""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from image_translation.cli.errors import UserError, one_of
from image_translation.metrics.functional import mse, psnr, report_ssim, ssim
from image_translation.metrics.names import METRICS, PROTOCOLS

NAME_BYTES = 256  # file names are at most 255 bytes long
Scores = dict[str, float]


class ImageScores(Metric):
    """Scores of every image of a split, by name; each name counts once, however many devices saw it.

    Args:
        protocol: ``standard``, or ``report`` to add the formulas of the original study.
    """

    full_state_update = False
    names: list[Tensor]
    values: list[Tensor]

    def __init__(self, protocol: str = "standard", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.protocol = one_of("protocol", protocol, PROTOCOLS)
        # Names travel as bytes, because only tensors are gathered from other devices.
        self.add_state("names", default=[], dist_reduce_fx="cat")
        self.add_state("values", default=[], dist_reduce_fx="cat")

    def update(self, output: Tensor, target: Tensor, names: list[str]) -> None:
        """Add a batch: images (N, C, H, W) as uint8, and their names."""
        dtype = torch.float32 if output.device.type == "mps" else torch.float64
        with torch.autocast(output.device.type, enabled=False):
            output, target = output.to(dtype), target.to(dtype)
            error = mse(output, target)
            columns = [error, psnr(error), ssim(output, target)]
            if self.protocol == "report":
                columns.append(report_ssim(output, target))
        self.values.append(torch.stack(columns, dim=1))
        encoded = [list(name.encode("utf-8", "surrogateescape").ljust(NAME_BYTES, b"\0")) for name in names]
        self.names.append(torch.tensor(encoded, dtype=torch.uint8).to(output.device, non_blocking=True))

    def compute(self) -> dict[str, Scores]:
        """The scores of each image by name, sorted.

        Raises:
            UserError: there was no image.
        """
        if isinstance(self.names, list) and not self.names:
            raise UserError("There was no image to measure.")
        names = [bytes(row).rstrip(b"\0").decode("utf-8", "surrogateescape")
                 for row in dim_zero_cat(self.names).tolist()]  # fmt: skip
        columns = (*METRICS, "report_ssim")
        rows = dim_zero_cat(self.values).tolist()
        return {name: dict(zip(columns, row, strict=False)) for name, row in sorted(zip(names, rows, strict=True))}


def mean_metrics(scores: dict[str, Scores]) -> Scores:
    """Means over the images: mse, psnr and ssim, and with the protocol ``report`` the study's figures as report/…."""

    def mean(measure: str) -> float:
        return sum(row[measure] for row in scores.values()) / len(scores)

    summary = {measure: mean(measure) for measure in METRICS}
    if all("report_ssim" in row for row in scores.values()):
        # All images are of one size, so the error pooled over all pixels is the mean of the images' errors.
        summary["report/mse"] = summary["mse"]
        summary["report/psnr"] = float(psnr(torch.tensor(summary["mse"], dtype=torch.float64)))
        summary["report/ssim"] = mean("report_ssim")
    return summary
