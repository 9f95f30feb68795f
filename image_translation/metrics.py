"""MSE, PSNR and SSIM of the pictures that a user would get in the saved files.

All are computed a picture at a time on 8-bit pictures, in double precision and outside autocast, so that they equal
scikit-image's on the PNG files and depend neither on the batch size nor on the number of devices.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from image_translation.errors import UserError, one_of

PEAK = 255.0
PERFECT_PSNR = 100.0  # what an identical picture counts as, in dB
MEASURES = ("mse", "psnr", "ssim")
PROTOCOLS = ("standard", "report")
NAME_BYTES = 256  # file names are at most 255 bytes long
Scores = dict[str, float]


def mse(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each picture in 8-bit units, 0 … 65025. (N, C, H, W) in 0 … 255 → (N,)."""
    return (output - target).square().mean(dim=(1, 2, 3))


def psnr(error: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, 10·log10(255²/mse); 100 where the pictures are identical. MSE (N,) → (N,)."""
    return torch.where(error == 0, PERFECT_PSNR, 10 * torch.log10(PEAK**2 / error))


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of each picture (Wang et al. 2004). (N, C, H, W) in 0 … 255 → (N,).

    11×11 Gaussian window, σ 1.5, K1 0.01, K2 0.03, mean of the channels; only windows inside the picture count. As
    scikit-image has it with ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``. (The function of
    torchmetrics counts windows over the border too, and takes some 20 times as long in double precision.)
    """
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    rows, columns = _gaussian_windows(output.shape[2], output), _gaussian_windows(output.shape[3], output)
    mx, my, mxx, myy, mxy = (
        rows @ moment @ columns.T for moment in (output, target, output**2, target**2, output * target)
    )
    vx, vy, covariance = mxx - mx**2, myy - my**2, mxy - mx * my
    index = (2 * mx * my + c1) * (2 * covariance + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return index.mean(dim=(1, 2, 3))


def _gaussian_windows(size: int, like: Tensor, sigma: float = 1.5, width: int = 11) -> Tensor:
    """The matrix (size − width + 1, size) that takes the Gaussian mean of every window of a line of pixels."""
    window = torch.exp(-((torch.arange(width).to(like) - width // 2) ** 2) / (2 * sigma**2))
    windows = F.pad(window / window.sum(), (0, size - width)).repeat(size - width + 1, 1)
    offsets = torch.arange(size - width + 1, device=like.device)[:, None]
    return windows.gather(1, (torch.arange(size, device=like.device) - offsets) % size)


def report_ssim(output: Tensor, target: Tensor) -> Tensor:
    """What the original study printed as SSIM. (N, C, H, W) in 0 … 255 → (N,).

    One mean and one standard deviation of each whole picture on [0, 1], and no covariance: a shuffled picture scores as
    well as the picture itself.
    """
    c1, c2 = (0.01 * 7) ** 2, (0.03 * 7) ** 2
    (mx, sx), (my, sy) = (
        (p.mean(dim=(1, 2, 3)), p.std(dim=(1, 2, 3), correction=0)) for p in (output / PEAK, target / PEAK)
    )
    return (2 * mx * my + c1) * (2 * sx * sy + c2) / ((mx**2 + my**2 + c1) * (sx**2 + sy**2 + c2))


class Measures(Metric):
    """Scores of every picture of a split, by name; each name counts once, however many devices saw it.

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
        """Add a batch: pictures (N, C, H, W) as uint8, and their names."""
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
        """The scores of each picture by name, sorted.

        Raises:
            UserError: there was no picture.
        """
        if isinstance(self.names, list) and not self.names:
            raise UserError("There was no picture to measure.")
        names = [bytes(row).rstrip(b"\0").decode("utf-8", "surrogateescape")
                 for row in dim_zero_cat(self.names).tolist()]  # fmt: skip
        columns = (*MEASURES, "report_ssim")
        rows = dim_zero_cat(self.values).tolist()
        return {name: dict(zip(columns, row, strict=False)) for name, row in sorted(zip(names, rows, strict=True))}


def summarise(scores: dict[str, Scores]) -> Scores:
    """Means over the pictures: mse, psnr and ssim, and with the protocol ``report`` the study's figures as report/…."""

    def mean(measure: str) -> float:
        return sum(row[measure] for row in scores.values()) / len(scores)

    summary = {measure: mean(measure) for measure in MEASURES}
    if all("report_ssim" in row for row in scores.values()):
        # All pictures are of one size, so the error pooled over all pixels is the mean of the pictures' errors.
        summary["report/mse"] = summary["mse"]
        summary["report/psnr"] = float(psnr(torch.tensor(summary["mse"], dtype=torch.float64)))
        summary["report/ssim"] = mean("report_ssim")
    return summary
